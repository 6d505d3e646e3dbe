"""The agents in the worktrees: who works on what, questions and answers."""

from __future__ import annotations
