"""
Delete what this repository no longer needs.

A worktree that was deleted by hand is removed like any other: its databases are parked, so that `worktree.undo` can
restore it. Only databases that were parked long ago are dropped.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.errors import GoldentreeError, RegistryError, WorktreeError
from tasks_lib.files import delete_tree
from tasks_lib.worktrees.plans.remove import plan_remove
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.reports.orphans import DeleteFiles, DropDatabase, ForgetRemoval, RemoveWorktree

if TYPE_CHECKING:
    from tasks_lib.databases.ownership.leftovers import Leftover
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.removal.removal_record import RemovalRecord
    from tasks_lib.worktrees.reports.orphans import Action, Orphan


@dataclass(frozen=True)
class Collected:
    """
    An orphan and its outcome.

    Attributes:
        outcome: `dropped`, `parked`, `deleted`, `forgotten`, `pending` or `kept`; `candidate` in a preview.
        why: Why it was kept.
    """

    orphan: Orphan
    outcome: str
    why: str = ""


def collect(project: Project, orphans: list[Orphan], narrator: Narrator) -> list[Collected]:
    """Delete what has an action, and return the outcome of each orphan. A failure does not stop the others."""
    collected = []
    for orphan in orphans:
        if orphan.action is None:
            collected.append(Collected(orphan, "kept", orphan.reason))
            continue
        try:
            with narrator.step(f"collect {orphan.kind} {orphan.name}"):
                collected.append(Collected(orphan, _run(project, orphan.action, narrator)))
        except GoldentreeError as error:
            collected.append(Collected(orphan, "kept", ": ".join(filter(None, [error.what, error.why]))))
    return collected


def _run(project: Project, action: Action, narrator: Narrator) -> str:
    """Check once more, under the worktree's lock, that nothing needs the orphan; delete it and return the outcome."""
    match action:
        case RemoveWorktree(record):
            return _remove_worktree(project, record, narrator)
        case DeleteFiles(removal):
            return _delete_files(project, removal)
        case ForgetRemoval(removal):
            with project.registry.working_on(removal.slug):
                removal_record.delete(project, removal)
            return "forgotten"
        case DropDatabase(leftover):
            return _drop_database(project, leftover)


def _remove_worktree(project: Project, record: Record, narrator: Narrator) -> str:
    with plan_remove(project, record.slug, narrator, keep_branch=record.state != "removing") as planned:
        # `plan_remove` takes branches before slugs.
        if planned.subject.record.slug != record.slug:
            raise RegistryError(f"a branch has the same name as the slug `{record.slug}`", hint="rename the branch")
        planned.run(narrator)
    return "pending" if planned.subject.pending else "parked"


def _delete_files(project: Project, removal: RemovalRecord) -> str:
    with project.registry.working_on(removal.slug):
        delete_tree(removal.trash)
        if removal.trash.exists():
            raise WorktreeError("some files could not be deleted", why="check their owner and attributes")
        if removal.undone:
            removal_record.delete(project, removal)
    return "deleted"


def _drop_database(project: Project, leftover: Leftover) -> str:
    from tasks_lib.databases.ownership.leftovers import drop_leftover

    slug = leftover.comment.slug if leftover.comment else ""
    with project.registry.working_on(slug) if slug else nullcontext():
        if leftover.kind == "clone" and project.registry.find(slug) is not None:
            raise RegistryError(f"worktree `{slug}` was created since the search")
        drop_leftover(project.source(), leftover)
    return "dropped"
