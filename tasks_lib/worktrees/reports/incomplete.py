"""
Detect incomplete worktrees, whose creation or removal was interrupted, and name the command that fixes each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.worktrees.removal import removal_record

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Problem:
    """What is wrong, and the command that fixes it, empty if there is none."""

    what: str
    cure: str


def diagnose(project: Project, record: Record, path: Path | None) -> Problem | None:
    """
    Return what is wrong with the worktree of *record*, None if it is complete.

    Args:
        path: The worktree's path in git, None if git does not list it.
    """
    exists = path is not None and path.exists()
    remove = f"inv worktree.remove {record.slug}"
    if record.state == "removing":
        removal = removal_record.interrupted_removal(project, record)
        torn_down = exists and removal is not None and removal.only_databases
        return Problem(
            "its removal was interrupted", command_for_worktree(project, path, "teardown") if torn_down else remove
        )
    if record.state == "creating" and (exists or record.made_worktree):
        create = f"inv worktree.create {record.identity.branch}"
        return Problem(
            "its creation was interrupted",
            create if record.made_worktree else command_for_worktree(project, path, "setup"),
        )
    if not exists:
        gone = f"its worktree is gone from {path or record.path}: deleted, or on a volume that is not mounted"
        return Problem(gone, f"{remove} --keep-branch")
    if record.clone is None:
        return Problem(
            f"its database `{record.identity.database}` was not created yet",
            command_for_worktree(project, path, "setup"),
        )
    return None


def command_for_worktree(project: Project, path: Path | None, verb: str) -> str:
    """Return the command line that runs `worktree.{verb}` in the worktree at *path*, from the current directory."""
    command = f"inv worktree.{verb}"
    return command if path == project.repository.current else f"cd {path} && {command}"
