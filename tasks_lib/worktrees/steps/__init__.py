"""The steps that plans are made of, each with its undo and its check for "already done"."""
