"""One module per command that only looks."""
