"""What a project is and remembers: its configuration, its ledger, the lineages in it."""
