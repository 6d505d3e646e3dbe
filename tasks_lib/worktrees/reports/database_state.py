"""
Report the state of the worktrees' databases: one query for all of them, and one per worktree for its migrations.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.errors import GoldentreeError
from tasks_lib.worktrees.reports.migrations import compare_migrations, history_reader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tasks_lib.databases.ownership.managed import ManagedDatabase
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.reports.migrations import Migrations

_THREADS = 8
"""Threads for the queries, because a login is a few milliseconds of waiting."""


@dataclass(frozen=True)
class DatabaseState:
    """
    The databases of one worktree. None where something is unknown.

    Attributes:
        own: Its clone of golden.
        companions: Its other databases.
        migrations: Also None if no migration tool is known.
        golden_changed: Whether golden has changed since it was cloned.
        why: Why something is unknown.
    """

    own: ManagedDatabase | None = None
    companions: tuple[ManagedDatabase, ...] = ()
    migrations: Migrations | None = None
    golden_changed: bool | None = None
    why: str = ""


def report_database_states(project: Project, places: Mapping[str, tuple[Record, Path]]) -> dict[str, DatabaseState]:
    """
    Return the state of the databases of *places* by slug. Starts no server and changes nothing.

    Args:
        places: Each worktree's record and path, by slug.

    Raises:
        GoldentreeError: If the server cannot be reached. A database that cannot be read does not affect the others.
    """
    from tasks_lib.databases.golden.overview import report_overview
    from tasks_lib.databases.server.from_settings import running_server

    server, source = running_server(project.settings), project.source()
    read = history_reader(server)

    def compare(place: tuple[Record, Path]) -> Migrations | GoldentreeError | None:
        record, path = place
        try:
            return compare_migrations(project, read, record, path) if record.clone and path.exists() else None
        except GoldentreeError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        asked = pool.submit(report_overview, source, {record.golden for record, _ in places.values()})
        migrations = dict(zip(places, pool.map(compare, places.values()), strict=True))
        found = asked.result()

    def state(slug: str, record: Record) -> DatabaseState:
        ours = [
            database
            for database in found.databases
            if (database.comment.slug, database.comment.role) == (slug, "clone")
        ]
        own = next((database for database in ours if database.name == record.identity.database), None)
        companions = tuple(database for database in ours if database is not own)
        if own is None:
            name = record.identity.database
            why = f"this worktree has no database `{name}` on {server.url}" if record.clone else ""
            if unproven := found.unproven.get(name):
                why = f"`{name}` {unproven.what}: {'; '.join(unproven.flaw.splitlines())}"
            return DatabaseState(None, companions, why=why)
        golden, drifted = found.goldens[record.golden], migrations[slug]
        changed = golden.digest != own.comment.fingerprint if golden.digest and own.comment.fingerprint else None
        why = golden.obstacle and f"golden cannot be compared: {golden.obstacle}"
        if isinstance(drifted, GoldentreeError):
            return DatabaseState(own, companions, None, changed, why or drifted.what)
        return DatabaseState(own, companions, drifted, changed, why)

    return {slug: state(slug, record) for slug, (record, _) in places.items()}
