"""The verbs over the stores of a project: what is sent there, what is brought from there, what stays."""
