"""
Replace a worktree's databases with fresh ones, and park the previous ones so that `worktree.undo` can restore them.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.plan import Plan, Step
from tasks_lib.worktrees.env.guard import require_own_database_name
from tasks_lib.worktrees.plans.planned import Planned
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.removal.removal_record import RemovalRecord
from tasks_lib.worktrees.steps.databases import (
    check_databases,
    companion_databases,
    format_result,
    own_database,
)
from tasks_lib.worktrees.steps.hooks import companion_setup_steps
from tasks_lib.worktrees.steps.toolchain import toolchain_steps
from tasks_lib.worktrees.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.databases.clone.strategy import CloneOptions
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.steps.databases import Database


@dataclass(frozen=True)
class Reset:
    """
    The databases that a reset replaces.

    Attributes:
        removal: What `worktree.undo` restores them from.
        parked: The name that each replaced database was parked under, by its name before.
    """

    removal: RemovalRecord
    parked: dict[str, str] = field(default_factory=dict)


@contextmanager
def plan_reset(project: Project, narrator: Narrator, options: CloneOptions) -> Iterator[Planned[Reset]]:
    """
    Plan fresh databases for the current worktree. The `with` body runs under the worktree's lock.

    Raises:
        GoldentreeError: If the databases cannot be replaced. Nothing was changed.
    """
    slug, path = project.require_record_here().slug, project.repository.current
    with project.registry.working_on(slug):
        # Read again: the previous holder of the lock may have changed it.
        record = project.require_record_here()
        # The name alone: a reset also replaces a database that no longer exists. `examine` checks who owns it.
        require_own_database_name(project, record, path, os.environ)
        target = Target(project, record, path, narrator)
        check_databases(target, options, rebuild=True)
        removal = RemovalRecord.of_databases(record, path, record.identity.branch, removal_record.timestamp())
        reset = Reset(removal)
        plan = Plan(
            [
                _RecordReplaced(project, removal, record, narrator).step(),
                *(
                    _Rebuild(database, reset, options, narrator).step()
                    for database in [own_database(project, record), *companion_databases(project, record)]
                ),
                *companion_setup_steps(target),
                *toolchain_steps(target),
            ],
            hint="fix it, then run:\ninv db.reset",
        )
        yield Planned(reset, (plan,))


@dataclass(frozen=True)
class _RecordReplaced:
    """The step that records what is replaced. It is undone last, and restores the replaced databases then."""

    project: Project
    removal: RemovalRecord
    record: Record
    narrator: Narrator

    def step(self) -> Step:
        return Step("record which databases are replaced", self.do, self.undo, anchor=True)

    def do(self) -> None:
        removal_record.write(self.project, self.removal)

    def undo(self) -> None:
        from tasks_lib.databases.clone import park

        park.unpark(
            self.project.server,
            self.project.owner(self.removal.slug),
            removed_at=self.removal.removed_at,
            now=removal_record.timestamp(),
            report=self.narrator.detail,
        )
        self.project.registry.update(self.removal.slug, clone=self.record.clone, done=self.record.done)
        removal_record.delete(self.project, self.removal)


@dataclass
class _Rebuild:
    """
    The step that replaces one database.

    Attributes:
        rebuilt: Whether the name belongs to the new database; until then, undo must not drop what has that name.
    """

    database: Database
    reset: Reset
    options: CloneOptions
    narrator: Narrator
    rebuilt: bool = False

    def step(self) -> Step:
        return Step(f"{self.database.title} again", self.do, self.undo)

    def do(self) -> str:
        made = self.database.rebuild(self.options, self.narrator, removed_at=self.reset.removal.removed_at)
        self.rebuilt = True
        if not made.parked:
            return format_result(made)
        self.reset.parked[self.database.name] = made.parked
        return f"{format_result(made)}; the previous one is parked as {made.parked}"

    def undo(self) -> None:
        if self.rebuilt:
            self.database.drop()
