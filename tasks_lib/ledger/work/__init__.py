"""Tasks: the queue, their dependencies, errands, proposals."""
