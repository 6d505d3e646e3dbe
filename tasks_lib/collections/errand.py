"""Small work on a branch and worktree of its own."""

from __future__ import annotations
