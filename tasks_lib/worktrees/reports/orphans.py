"""
Find what this repository no longer needs: deleted worktrees, expired removals, unused databases.

The search starts from what is in use: the worktrees that git lists, the directories that exist, the records in the
registry. If one of these lists cannot be read, the search fails, because an empty list would make everything look
orphaned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.git.repository import list_worktrees
from tasks_lib.output import format_age, format_sessions
from tasks_lib.program_name import name_program
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.reports.incomplete import describe_worker

if TYPE_CHECKING:
    from tasks_lib.databases.ownership.leftovers import Leftover
    from tasks_lib.git.repository import WorktreeEntry
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.removal.removal_record import RemovalRecord


@dataclass(frozen=True)
class RemoveWorktree:
    """Remove the worktree of *record*, or finish its removal. `worktree.undo` can restore it."""

    record: Record


@dataclass(frozen=True)
class DeleteFiles:
    """Delete the files that *removal* could not delete."""

    removal: RemovalRecord


@dataclass(frozen=True)
class ForgetRemoval:
    """Delete the record of *removal*, which can then no longer be undone."""

    removal: RemovalRecord


@dataclass(frozen=True)
class DropDatabase:
    """Drop the database *leftover*."""

    leftover: Leftover


Action = RemoveWorktree | DeleteFiles | ForgetRemoval | DropDatabase


@dataclass(frozen=True)
class Orphan:
    """
    Something that is no longer needed.

    Attributes:
        kind: `worktree`, `files`, `note` (a removal record), or the role of a database.
        bytes: On disk, None where it is unknown or negligible.
        reason: Why it is not needed or, without an action, why it stays.
        action: How `worktree.gc --yes` deletes it, None where it stays.
    """

    kind: str
    name: str
    bytes: int | None
    reason: str
    action: Action | None


def find_orphans(project: Project) -> list[Orphan]:
    """
    Return what is no longer needed, including what looks so but stays. Changes nothing.

    Raises:
        GoldentreeError: If git, the registry or the server cannot be read.
    """
    entries = {entry.path: entry for entry in list_worktrees(project.repository.main)}
    paths, records = project.registry.paths(), project.registry.records()
    now = datetime.now(UTC)
    orphans = [_find_worktree(project, record, paths.get(record.slug), entries) for record in records]
    found = [orphan for orphan in orphans if orphan is not None]
    for removal in removal_record.list_removals(project) + removal_record.list_removals(project, undone=True):
        found += _find_removal_leftovers(project, removal, now)
    return found + _find_databases(project, records)


def _find_worktree(
    project: Project, record: Record, registered: Path | None, entries: dict[Path, WorktreeEntry]
) -> Orphan | None:
    """Return the orphan of a record whose worktree was deleted, None if the worktree exists."""
    branch, path = record.identity.branch, registered or Path(record.path)
    if registered is not None and registered.exists():
        return None
    if worker := project.registry.find_worker(record.slug):
        return Orphan("worktree", branch, None, describe_worker(record, worker), None)
    entry = entries.get(path)
    if entry is not None and entry.locked is not None:
        return Orphan("worktree", branch, None, "it is locked, perhaps on a volume that is not mounted", None)
    if not path.parent.is_dir() or not any(path.parent.iterdir()):
        reason = f"`{path.parent}` is empty or gone: a volume that is not mounted? inv worktree.remove {record.slug}"
        return Orphan("worktree", branch, None, name_program(reason), None)
    reason = {
        "removing": "its removal was interrupted",
        "creating": "its creation was interrupted",
        "ready": f"its directory {path} was deleted",
    }[record.state]
    return Orphan("worktree", branch, None, reason, RemoveWorktree(record))


def _find_removal_leftovers(project: Project, removal: RemovalRecord, now: datetime) -> list[Orphan]:
    """Return the record of a removal that has expired, and files that a removal could not delete."""
    record = project.registry.find(removal.slug)
    if record is not None and record.state == "removing":
        return []  # the orphan of its record covers it
    if project.registry.find_worker(removal.slug):
        return []  # it is being undone
    name = removal.branch or removal.path
    found = []
    if removal.trash.exists():
        reason = f"left over from the worktree of {name}"
        found.append(Orphan("files", str(removal.trash), None, reason, DeleteFiles(removal)))
        if removal.undone:
            return found  # the record is deleted with the files
    removed_for = now - datetime.fromisoformat(removal.removed_at)
    if removed_for > project.settings.keep_removed:
        reason = f"removed {format_age(removed_for.total_seconds())} ago"
        found.append(Orphan("note", name, None, reason, ForgetRemoval(removal)))
    return found


def _find_databases(project: Project, records: list[Record]) -> list[Orphan]:
    from tasks_lib.databases.ownership.leftovers import find_leftovers

    templates = {companion.template for companion in project.settings.companions if companion.template}
    leftovers = find_leftovers(
        project.source(),
        live={record.slug for record in records},
        templates=templates | {record.golden for record in records},
        keep=project.settings.keep_removed,
    )
    return [_describe(leftover) for leftover in leftovers]


def _describe(leftover: Leftover) -> Orphan:
    if leftover.sessions:
        reason = f"{leftover.reason}, but {format_sessions(leftover.sessions)}"
        return Orphan(leftover.kind, leftover.name, leftover.bytes, reason, None)
    return Orphan(leftover.kind, leftover.name, leftover.bytes, leftover.reason, DropDatabase(leftover))
