"""
Drift: how a worktree's database stands to the branch's migrations, and to golden's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from tasks_lib.toolchains.choose import ledger_toolchain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tasks_lib.databases.server.connection import Server
    from tasks_lib.toolchains.base import Drift, Ledger
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

    Read = Callable[[str, Ledger], list[str]]
    """Return the migrations that a database has recorded in a ledger."""


@dataclass(frozen=True)
class Migrations:
    """
    The migrations of one worktree.

    Attributes:
        toolchain: The tool whose ledger they were read from.
        drift: Of the clone; `missing` counts what golden's ledger, or the clone's, has and the branch lacks.
        new_in_golden: Those that golden has and the clone lacks, by the names that the branch gives them.
    """

    toolchain: str
    drift: Drift
    new_in_golden: tuple[str, ...]


def history_reader(server: Server) -> Read:
    """Return a function that reads the ledgers on *server*, each of them once."""
    from tasks_lib.databases.compare import queries

    @cache
    def read(database: str, ledger: Ledger) -> list[str]:
        return queries.read_migration_keys(server, database, ledger.table, ledger.query)

    return read


def compare_migrations(project: Project, read: Read, record: Record, path: Path) -> Migrations | None:
    """
    Compare the files of the worktree at *path* with the ledgers of its own database and of golden.

    Returns None where no migration tool is known.

    Raises:
        DatabaseError: If one of the ledgers cannot be read.
        ToolchainError: If the files cannot be.
    """
    toolchain = ledger_toolchain(path, project.settings.migrate)
    if toolchain is None:
        return None
    ours, golden = (read(name, toolchain.ledger) for name in (record.identity.database, record.golden))
    drift = toolchain.drift(ours)
    # Mostly they are the same, and a branch has hundreds of files to read.
    theirs = toolchain.drift(golden) if set(golden) != set(ours) else drift
    new = {*theirs.applied, *theirs.missing} - {*drift.applied, *drift.missing}
    missing = tuple(sorted({*drift.missing, *theirs.missing}))
    return Migrations(toolchain.name, replace(drift, missing=missing), tuple(sorted(new)))
