"""
Worktrees that are not whole: what was cut short or taken away, and the command that cures it.
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
    """What is wrong, and the command that cures it, if there is one."""

    what: str
    cure: str


def diagnose(project: Project, record: Record, path: Path | None) -> Problem | None:
    """
    Return what the worktree of *record* lacks to be whole; None for one that is.

    Args:
        path: Where git says that it is; None where git does not know it.
    """
    there = path is not None and path.exists()
    remove = f"inv worktree.remove {record.slug}"
    if record.state == "removing":
        note = removal_record.interrupted_removal(project, record)
        torn_down = there and note is not None and note.only_databases
        return Problem(
            "its removal was interrupted", command_for_worktree(project, path, "teardown") if torn_down else remove
        )
    if record.state == "creating" and (there or record.made_worktree):
        create = f"inv worktree.create {record.identity.branch}"
        return Problem(
            "its creation was interrupted",
            create if record.made_worktree else command_for_worktree(project, path, "setup"),
        )
    if not there:
        gone = f"its worktree is gone from {path or record.path}: deleted, or on a volume that is away"
        return Problem(gone, f"{remove} --keep-branch")
    if record.clone is None:
        return Problem(
            f"there is no database `{record.identity.database}` yet", command_for_worktree(project, path, "setup")
        )
    return None


def command_for_worktree(project: Project, path: Path | None, verb: str) -> str:
    """Return the command that does *verb* in the worktree at *path*, from where we stand."""
    command = f"inv worktree.{verb}"
    return command if path == project.repository.here else f"cd {path} && {command}"
