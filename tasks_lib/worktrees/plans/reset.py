"""
Resetting: fresh databases in the place of a worktree's own; those that were are parked, for `worktree.undo`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.plan import Plan, Step
from tasks_lib.worktrees.env import guard
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.steps import databases as clones
from tasks_lib.worktrees.steps import hooks, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.databases.clone.strategy import CloneOptions
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.steps.databases import Database


@dataclass
class Resetting:
    """
    A planned reset.

    Attributes:
        parked: By the name that a database has: what the one is called now that bore it before.
    """

    note: removal_record.RemovalRecord
    parked: dict[str, str] = field(default_factory=dict)
    plan: Plan = field(init=False)


@contextmanager
def plan_reset(project: Project, narrator: Narrator, wish: CloneOptions) -> Iterator[Resetting]:
    """
    Plan fresh databases for the worktree that we stand in; hold the worktree's lock meanwhile.

    Raises:
        GoldentreeError: If anything stands in the way; nothing was changed then.
    """
    slug, here = project.require_record_here().slug, project.repository.here
    with project.registry.working_on(slug):
        # Looked up again: whoever held the lock until now may have changed it.
        record = project.require_record_here()
        # The name alone: a database that is gone is no obstacle. Whose it is, each one examines.
        guard.require_own_name(project, record, here, os.environ)
        clones.examine(project, record)
        branch = record.identity.branch
        note = removal_record.RemovalRecord(
            slug, removal_record.timestamp(), str(here), branch, None, None, record, only_databases=True
        )
        resetting, hint = Resetting(note), "mend it, then: inv db.reset"
        databases: list[Database] = [clones.own(project, record), *clones.companions(project, record)]
        resetting.plan = Plan(
            [
                _note_step(project, note, record, narrator),
                *(_rebuild_step(database, resetting, wish, narrator) for database in databases),
                *hooks.companion_setup(project, record, here, narrator, hint=hint),
                *toolchain.steps(project, record, here, narrator, hint=hint),
            ]
        )
        yield resetting


def _note_step(project: Project, note: removal_record.RemovalRecord, record: Record, narrator: Narrator) -> Step:
    """Return the step that writes down what is replaced; undone last, it brings that back."""
    registry = project.registry

    def undo() -> None:
        from tasks_lib.databases.clone import park

        park.unpark(
            project.server,
            repository=registry.repository_id,
            slug=note.slug,
            parked=note.removed,
            now=removal_record.timestamp(),
            report=narrator.detail,
        )
        registry.update(note.slug, clone=record.clone, done=record.done)
        removal_record.delete(project, note)

    def do() -> None:
        removal_record.write(project, note)

    return Step("note down what is replaced", do, undo, anchor=True)


def _rebuild_step(database: Database, resetting: Resetting, wish: CloneOptions, narrator: Narrator) -> Step:
    note = resetting.note
    rebuilt = False

    def do() -> str:
        nonlocal rebuilt
        made = database.rebuild(wish, narrator, moment=note.removed)
        rebuilt = True
        if made.parked:
            resetting.parked[database.name] = made.parked
        return clones.told(made) + (f"; the one before is {made.parked}" if made.parked else "")

    def undo() -> None:
        if rebuilt:  # else it is the old one that bears the name
            database.drop()

    return Step(f"{clones.title(database)}, anew", do, undo)
