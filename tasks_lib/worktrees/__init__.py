"""The git side: identity, registry, env files, ports, and the life of a worktree."""
