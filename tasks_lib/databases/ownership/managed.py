"""
List every database that a repository owns or is said to own, whatever its name and role.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from msgspec import structs

from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.ownership.proof import COLUMNS, Proven, Unproven, examine, look_up
from tasks_lib.errors import OwnershipError

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.signer import Signer
    from tasks_lib.databases.server.connection import Server


@dataclass(frozen=True)
class ManagedDatabase:
    """
    One of the repository's databases.

    Attributes:
        bytes: Size on disk; 0 if not measured, or if our role may not read it.
        sessions: Number of connected sessions. Autovacuum workers, which the server ends itself, and sessions of this
            tool, which last for milliseconds, do not count.
        invalid: Whether an interrupted DROP DATABASE has left it, so that it can only be dropped.
    """

    name: str
    oid: int
    comment: OwnershipComment
    bytes: int
    sessions: int
    invalid: bool


@dataclass(frozen=True)
class Claimed:
    """
    A database whose comment names the repository, but does not prove that it is the repository's.

    Attributes:
        bytes: Size on disk; 0 if not measured, or if our role may not read it.
        comment: What its comment says.
    """

    found: Unproven
    comment: OwnershipComment
    bytes: int


def list_managed(connection: Connection[Any], signer: Signer, *, sizes: bool = True) -> list[ManagedDatabase]:
    """
    Return the databases that are provably the repository's, by name.

    Args:
        sizes: Measure them (about 1.3 ms for each database of 120 tables on PostgreSQL 18, most of this query's cost).
    """
    return list_claimed(connection, signer, sizes=sizes)[0]


def list_claimed(
    connection: Connection[Any], signer: Signer, *, sizes: bool = True
) -> tuple[list[ManagedDatabase], list[Claimed]]:
    """Return the databases of `list_managed`, and those that only claim to be the repository's, both by name."""
    query: LiteralString = (
        # pg_database_size raises an error without these privileges.
        "SELECT CASE WHEN %s AND (has_database_privilege(d.oid, 'CONNECT') "
        "OR pg_has_role('pg_read_all_stats', 'USAGE')) THEN coalesce(pg_database_size(d.oid), 0) ELSE 0 END, "
        "coalesce(a.sessions, 0), "
        + COLUMNS
        + " FROM pg_database d LEFT JOIN (SELECT datid, count(*) AS sessions FROM pg_stat_activity "
        "WHERE backend_type IS DISTINCT FROM 'autovacuum worker' "
        "AND NOT starts_with(coalesce(application_name, ''), 'goldentree') GROUP BY datid) a ON a.datid = d.oid "
        # Only a cheap filter, so that not every database on the server is measured; `examine` decides.
        "WHERE strpos(shobj_description(d.oid, 'pg_database'), %s) > 0 ORDER BY d.datname"
    )
    managed, claimed = [], []
    for size, sessions, *row in _fetch(connection, query, [sizes, json.dumps(signer.repository)]):
        found = examine(connection, signer, tuple(row))
        if isinstance(found, Proven):
            managed.append(ManagedDatabase(found.name, found.oid, found.comment, size, sessions, found.invalid))
        elif found.comment is not None and found.comment.repository == signer.repository:
            claimed.append(Claimed(found, found.comment, size))
    return managed, claimed


def sign_claimed(server: Server, signer: Signer, claim: Claimed) -> None:
    """
    Sign the comment of *claim*, for which a person has decided that it is the repository's.

    Raises:
        OwnershipError: If the database has changed since, or more than the proof is wrong.
    """
    comment = claim.comment
    # Earlier versions wrote only one instant.
    comment = structs.replace(comment, removed_at=comment.removed_at or comment.parked_at)
    with server.connect_for_ddl() as connection, connection.transaction():
        before = look_up(connection, signer, claim.found.name)
        set_comment(connection, signer, claim.found.name, comment, oid=claim.found.oid)
        # Now no other session can change the comment, the owner or the name.
        signed = look_up(connection, signer, claim.found.name)
        if isinstance(signed, Unproven):
            raise signed.error()
        if before is None or before.comment != claim.comment:
            raise OwnershipError(
                f"the ownership comment of database `{claim.found.name}` has changed", hint="run the same command again"
            )


def _fetch(connection: Connection[Any], query: LiteralString, parameters: list[Any]) -> list[tuple[Any, ...]]:
    from psycopg import errors

    while True:
        # PostgreSQL 18 raises an error for the size of a database that was dropped since the query began.
        with suppress(errors.UndefinedObject):
            return connection.execute(query, parameters).fetchall()
