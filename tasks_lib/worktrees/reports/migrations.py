"""
Compare a database's applied migrations with the branch's migration files and with golden's applied migrations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from tasks_lib.toolchains.choose import find_history_toolchain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tasks_lib.databases.server.connection import Server
    from tasks_lib.toolchains.base import Drift, MigrationHistory
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

    Read = Callable[[str, MigrationHistory], Mapping[str, str | None]]
    """A function that reads the applied migrations of a database from a migration history table."""


@dataclass(frozen=True)
class Migrations:
    """
    The migrations of one worktree.

    Attributes:
        toolchain: The tool whose migration history was read.
        drift: The clone's. `missing` has what is applied in golden or the clone and has no file on the branch.
        new_in_golden: What is applied in golden but not in the clone, by the branch's names.
    """

    toolchain: str
    drift: Drift
    new_in_golden: tuple[str, ...]


def history_reader(server: Server) -> Read:
    """Return a function that reads each migration history table on *server* once."""
    from tasks_lib.databases.compare import queries

    @cache
    def read(database: str, history: MigrationHistory) -> Mapping[str, str | None]:
        return queries.read_migrations(server, database, *history)

    return read


def compare_migrations(project: Project, read: Read, record: Record, path: Path) -> Migrations | None:
    """
    Compare the migration files of the worktree at *path* with what is applied in its database and in golden.

    Returns None if no migration tool is known.

    Raises:
        DatabaseError: If a migration history table cannot be read.
        ToolchainError: If the migration files cannot be read.
    """
    toolchain = find_history_toolchain(path, project.settings.migrate, project.settings.history)
    if toolchain is None:
        return None
    ours, golden = (read(name, toolchain.history) for name in (record.identity.database, record.golden))
    drift = toolchain.drift(ours)
    # They are mostly equal, and a branch may have hundreds of files to read.
    theirs = toolchain.drift(golden) if set(golden) != set(ours) else drift
    new = {*theirs.applied, *theirs.missing} - {*drift.applied, *drift.missing}
    missing = tuple(sorted({*drift.missing, *theirs.missing}))
    return Migrations(toolchain.name, replace(drift, missing=missing), tuple(sorted(new)))
