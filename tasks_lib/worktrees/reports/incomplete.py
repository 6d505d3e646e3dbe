"""
Detect incomplete worktrees, whose creation or removal was interrupted, and name the command that fixes each.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.worktrees.removal import removal_record

_DOING = {"creating": "created", "removing": "removed", "ready": "changed"}

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.waits import Holder
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Problem:
    """What is wrong, and the command that fixes it, empty if there is none."""

    what: str
    cure: str


def diagnose(project: Project, record: Record, path: Path | None) -> Problem | None:
    """
    Return what is wrong with the worktree of *record*, None if it is complete, or if a process works on it.

    Args:
        path: The worktree's path in git, None if git does not list it.
    """
    worker = project.registry.find_worker(record.slug)
    if worker is not None:
        return Problem(describe_worker(record, worker), worker.cure) if worker.stopped else None
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


def describe_worker(record: Record, worker: Holder) -> str:
    """Return what *worker* does to the worktree of *record*: "it is being created by process 4711 (...)"."""
    return f"it is being {_DOING[record.state]} by {worker}"


def command_for_worktree(project: Project, path: Path | None, verb: str) -> str:
    """Return the command line that runs `worktree.{verb}` in the worktree at *path*, from the current directory."""
    command = f"inv worktree.{verb}"
    return command if path == project.repository.current else f"cd {shlex.quote(str(path))} && {command}"
