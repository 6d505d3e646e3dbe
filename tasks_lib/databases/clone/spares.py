"""
Keep spares ready: clones of the current snapshot that only need to be renamed.

A spare has golden's fingerprint and settings from when it was made. It is used only while golden still has that
fingerprint; one transaction gives it its ownership comment and its name.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from msgspec import structs

from tasks_lib.databases.clone import snapshot
from tasks_lib.databases.clone.publish import publish
from tasks_lib.databases.compare import freshness
from tasks_lib.databases.copy import template
from tasks_lib.databases.ownership.advisory_lock import try_advisory_lock
from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.ownership.golden_template import require_golden, require_space
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.ddl import rename_database
from tasks_lib.errors import OwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.clone.snapshot import Snapshot
    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.proof import Proven
    from tasks_lib.databases.ownership.source import Source


def take_spare(
    source: Source,
    connection: Connection[Any],
    ready: list[Proven],
    fingerprint: str,
    database: str,
    comment: OwnershipComment,
) -> bool:
    """
    Turn a spare among *ready* with that *fingerprint* into the clone *database*; return whether there was one.

    Raises:
        psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation: If another process took the name *database*.
    """
    from psycopg import errors

    comment = structs.replace(comment, fingerprint=fingerprint)
    for spare in ready:
        if not fingerprint or spare.comment.fingerprint != fingerprint:
            continue
        try:
            with connection.transaction():
                rename_database(connection, spare.name, database)
                # Another role may have created a database of that name since the spare was taken.
                set_comment(connection, source.signer, database, comment, oid=spare.oid)
        except (errors.InvalidCatalogName, errors.ObjectInUse, errors.InternalError_, OwnershipError):
            continue  # another process took it just now
        return True
    return False


def maintain_spares(source: Source, count: int, report: Callable[[str], object]) -> int:
    """
    Keep *count* spares of golden's current state: build missing ones, drop outdated and surplus ones.

    Returns the number of spares. If another process is maintaining them, nothing is done.

    Raises:
        DatabaseError: If one cannot be built.
    """
    with source.server.connect_for_ddl() as connection:
        golden = require_golden(connection, source.golden)
        if not try_advisory_lock(connection, source.signer, source.prefix("spare", golden.oid)):
            return len(source.list_copies(connection, "spare", golden.oid))
        asked = freshness.read_baseline(connection, golden.oid)
        digest = freshness.read_current_fingerprint(source, golden, asked).found.digest if count else ""
        ready = 0
        for spare in source.list_copies(connection, "spare"):
            if spare.comment.golden != source.golden:
                continue
            if spare.comment.fingerprint == digest != "" and ready < count:
                ready += 1
            else:
                source.drop(connection, spare.name, "spare")
        if digest and ready < count:
            current = snapshot.reuse_or_take(
                source, connection, golden, lambda taken: taken.fingerprint == digest, report
            )
            # If golden has changed just now, the next call builds them.
            for _ in range(count - ready if current.fingerprint == digest else 0):
                require_space(connection, golden)
                _build_spare(source, connection, golden, current)
                ready += 1
        return ready


def _build_spare(source: Source, connection: Connection[Any], golden: Golden, taken: Snapshot) -> None:
    name = source.prefix("spare", golden.oid) + secrets.token_hex(8)
    comment = source.new_comment("spare", created_at=taken.taken_at.isoformat(), fingerprint=taken.fingerprint)
    with temporary_database(source, connection) as temporary:
        template.copy(connection, golden, temporary, snapshot=taken.name, oid=taken.oid)
        publish(connection, source.signer, golden, temporary, name, comment)
