"""What joins worktrees, the ledger and Loquent, which do not import each other."""
