"""
A survey of golden: what it is, who is connected, and what has been made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone import snapshot
from tasks_lib.databases.compare import freshness
from tasks_lib.databases.ownership.golden_template import require_golden
from tasks_lib.databases.server.connection import scalar

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.clone.snapshot import Snapshot
    from tasks_lib.databases.compare.freshness import Freshness
    from tasks_lib.databases.ownership.source import Source


@dataclass(frozen=True)
class Session:
    """Somebody who is connected to golden; *state* is empty where our role may not see it."""

    pid: int
    user: str
    application: str
    state: str


@dataclass(frozen=True)
class GoldenStatus:
    """
    What is known of golden.

    Attributes:
        owner: The role that owns it.
        bytes: Its size on disk.
        taken: The newest snapshot, None where there is none.
        age: How old that is, in seconds.
        taken_bytes: The snapshot's size on disk.
        freshness: Golden's fingerprint now, and what told it.
        changed: Whether golden has changed since the snapshot; None where that cannot be told.
        spares: How many current ones are ready.
    """

    owner: str
    bytes: int
    sessions: list[Session]
    taken: Snapshot | None
    age: float | None
    taken_bytes: int | None
    freshness: Freshness
    changed: bool | None
    spares: int


def report_golden_status(source: Source) -> GoldenStatus:
    """
    Look at golden.

    Raises:
        GoldenMissingError: If there is none.
        DatabaseError: If it cannot be connected to.
    """
    with source.server.connect() as connection:
        golden = require_golden(connection, source.golden)
        sessions = _sessions(connection, golden.name)
        known = snapshot.list_snapshots(source, connection, golden)
        asked = freshness.read_baseline(connection, golden.oid)
        seen = freshness.read_current_fingerprint(source, golden, asked)
        digest = seen.found.digest
        current = next((one for one in known if one.fingerprint == digest != ""), None)
        taken = current or next(iter(known), None)
        return GoldenStatus(
            golden.owner,
            golden.bytes,
            sessions,
            taken,
            (asked.moment - taken.taken).total_seconds() if taken else None,
            scalar(connection, "SELECT pg_database_size(%s)", [taken.name]) if taken else None,
            seen,
            current is None if taken and digest else None,
            sum(mark.fingerprint == digest != "" for mark in source.made(connection, "spare", golden.oid).values()),
        )


def _sessions(connection: Connection[Any], golden: str) -> list[Session]:
    rows = connection.execute(
        "SELECT pid, coalesce(usename, '?'), coalesce(application_name, ''), coalesce(state, '') "
        "FROM pg_stat_activity WHERE datname = %s AND backend_type IS DISTINCT FROM 'autovacuum worker' ORDER BY pid",
        [golden],
    )
    return [Session(*row) for row in rows]
