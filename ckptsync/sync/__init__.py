"""The verbs: launch, wait, fetch, verify, restore, and what looks at their results. Never training, never torch."""
