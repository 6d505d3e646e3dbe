"""
Report the golden template's size, sessions, newest snapshot and spares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone import snapshot
from tasks_lib.databases.compare import freshness
from tasks_lib.databases.ownership.golden_template import require_open
from tasks_lib.databases.server.connection import scalar

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.clone.snapshot import Snapshot
    from tasks_lib.databases.compare.freshness import Freshness
    from tasks_lib.databases.ownership.source import Source


@dataclass(frozen=True)
class Session:
    """A session that is connected to golden; *state* is empty if our role may not see it."""

    pid: int
    user: str
    application: str
    state: str


@dataclass(frozen=True)
class GoldenStatus:
    """
    The state of the golden template.

    Attributes:
        owner: The role that owns it.
        bytes: Size on disk.
        snapshot: The current snapshot, else the newest; None if there are none.
        age: The snapshot's age in seconds.
        snapshot_bytes: The snapshot's size on disk.
        freshness: Golden's current fingerprint, and what proved it.
        changed: Whether golden has changed since the snapshot; None if unknown.
        spares: The number of current spares.
    """

    owner: str
    bytes: int
    sessions: list[Session]
    snapshot: Snapshot | None
    age: float | None
    snapshot_bytes: int | None
    freshness: Freshness
    changed: bool | None
    spares: int


def report_golden_status(source: Source) -> GoldenStatus:
    """
    Report the state of the golden template; nothing is changed.

    Raises:
        GoldenMissingError: If it does not exist.
        DatabaseError: If it cannot be connected to.
    """
    with source.server.connect() as connection:
        golden = require_open(connection, source.golden)
        sessions = _list_sessions(connection, golden.name)
        known = snapshot.list_snapshots(source, connection, golden)
        asked = freshness.read_baseline(connection, golden.oid)
        read = freshness.read_current_fingerprint(source, golden, asked)
        digest = read.found.digest
        current = next((taken for taken in known if taken.fingerprint == digest != ""), None)
        newest = current or next(iter(known), None)
        spares = source.list_copies(connection, "spare", golden.oid)
        return GoldenStatus(
            golden.owner,
            golden.bytes,
            sessions,
            newest,
            (asked.read_at - newest.taken_at).total_seconds() if newest else None,
            scalar(connection, "SELECT pg_database_size(%s)", [newest.name]) if newest else None,
            read,
            current is None if newest and digest else None,
            sum(spare.comment.fingerprint == digest != "" for spare in spares),
        )


def _list_sessions(connection: Connection[Any], golden: str) -> list[Session]:
    rows = connection.execute(
        "SELECT pid, coalesce(usename, '?'), coalesce(application_name, ''), coalesce(state, '') "
        "FROM pg_stat_activity WHERE datname = %s AND backend_type IS DISTINCT FROM 'autovacuum worker' ORDER BY pid",
        [golden],
    )
    return [Session(*row) for row in rows]
