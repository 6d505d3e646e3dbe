"""
Spares: ready clones of the current snapshot, waiting for a name.

A spare carries golden's fingerprint and settings of the moment it was made; it is handed out only
while golden still has that fingerprint, by one transaction that gives it its mark and its name.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone import snapshot
from tasks_lib.databases.clone.publish import publish
from tasks_lib.databases.compare import freshness
from tasks_lib.databases.copy import template
from tasks_lib.databases.ownership.advisory_lock import try_advisory_lock
from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.ownership.golden_template import require_golden, require_space
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.ddl import rename_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.clone.snapshot import Snapshot
    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.source import Source


def take_spare(
    connection: Connection[Any],
    ready: dict[str, OwnershipComment],
    fingerprint: str,
    database: str,
    mark: OwnershipComment,
) -> bool:
    """
    Turn a spare among *ready* that has the *fingerprint* into the clone *database*; return whether there was one.

    Raises:
        psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation: If somebody else took the name *database*.
    """
    from psycopg import errors

    for name, spare in ready.items():
        if not fingerprint or spare.fingerprint != fingerprint:
            continue
        try:
            with connection.transaction():
                set_comment(connection, name, replace(mark, fingerprint=fingerprint))
                rename_database(connection, name, database)
        except (errors.InvalidCatalogName, errors.ObjectInUse, errors.InternalError_):
            continue  # another process took it just now
        return True
    return False


def maintain_spares(source: Source, count: int, report: Callable[[str], object]) -> int:
    """
    Keep *count* spares of golden as it is now: make those that are missing, drop what is outdated or too many.

    Returns how many there are. Where another process is at it already, that one goes on, and this one does nothing.

    Raises:
        DatabaseError: If one cannot be made.
    """
    with source.server.building() as connection:
        golden = require_golden(connection, source.golden)
        if not try_advisory_lock(connection, source.prefix("spare", golden.oid)):
            return len(source.made(connection, "spare", golden.oid))
        asked = freshness.read_baseline(connection, golden.oid)
        digest = freshness.read_current_fingerprint(source, golden, asked).found.digest if count else ""
        ready = 0
        for name, mark in source.made(connection, "spare").items():
            if mark.golden != source.golden:
                continue
            if mark.fingerprint == digest != "" and ready < count:
                ready += 1
            else:
                source.drop(connection, name, "spare")
        if digest and ready < count:
            taken = snapshot.reuse_or_take(source, connection, golden, lambda one: one.fingerprint == digest, report)
            # Golden may have changed in this moment; the next call looks again.
            for _ in range(count - ready if taken.fingerprint == digest else 0):
                require_space(connection, golden)
                _make(source, connection, golden, taken)
                ready += 1
        return ready


def _make(source: Source, connection: Connection[Any], golden: Golden, taken: Snapshot) -> None:
    name = source.prefix("spare", golden.oid) + secrets.token_hex(8)
    mark = source.mark("spare", created=taken.taken.isoformat(), fingerprint=taken.fingerprint)
    with temporary_database(source, connection) as under_construction:
        template.copy(connection, golden, under_construction, snapshot=taken.name)
        publish(connection, golden, under_construction, name, mark)
