"""Where sessions execute. Every runner keeps the contract of `base.Runner`."""
