"""One module per command that changes something: checks first, then a plan."""
