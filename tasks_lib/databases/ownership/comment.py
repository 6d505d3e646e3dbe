"""
Read and write the comment on a database that says which worktree it belongs to.

What a comment says is a claim: every role may write any comment on its own databases. `proof` decides what it proves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, LiteralString

import msgspec

from tasks_lib.databases.server.connection import TOOL, scalar
from tasks_lib.errors import OwnershipError

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.signer import Signer

Role = Literal["clone", "temporary", "snapshot", "spare", "parked"]

MAINTENANCE_NAMES = frozenset({"postgres", "template0", "template1"})

SERVER_ID: LiteralString = "(SELECT system_identifier FROM pg_control_system())"
"""SQL: an id that differs between servers and does not depend on the address; any role may read it."""

OWNED: LiteralString = "pg_get_userbyid(d.datdba) IN (session_user, current_user)"
"""SQL: whether our own role owns the database `d`, exactly: a superuser is a member of every role."""

NOW: LiteralString = "extract(epoch FROM clock_timestamp())::float8"
"""SQL: the server's clock, in seconds since 1970."""

_VERSION = 1


@dataclass(frozen=True)
class Owner:
    """
    The worktree that a database belongs to.

    Attributes:
        signer: The worktree's repository.
        slug: The worktree's slug; empty for a database of the repository as a whole, such as a snapshot.
    """

    signer: Signer
    slug: str = ""

    @property
    def repository(self) -> str:
        """The id of the repository."""
        return self.signer.repository


class OwnershipComment(msgspec.Struct, frozen=True):
    """
    What the comment on one of our databases says.

    Attributes:
        repository: Id of the repository whose worktree it serves.
        slug: The worktree's slug, empty for a database of the repository as a whole.
        role: What the database is for.
        golden: Name of the golden template that it was cloned from.
        created_at: ISO 8601 with offset, by the server's clock; for a snapshot, the instant whose data it shows.
        fingerprint: Golden's fingerprint at that instant, empty if unknown.
        database: The previous name of a parked database.
        parked_at: When a parked database was parked, in ISO 8601, by the server's clock.
        removed_at: The timestamp of the removal record that a parked database belongs to, by that machine's clock.
        given_to: The oid of the role that owned golden and got the database; 0 if our own role kept it.
    """

    repository: str
    slug: str
    role: Role
    golden: str
    created_at: str = msgspec.field(default="", name="created")
    fingerprint: str = ""
    database: str = ""
    parked_at: str = msgspec.field(default="", name="parked")
    removed_at: str = msgspec.field(default="", name="removed")
    given_to: int = 0

    def fields(self) -> dict[str, Any]:
        """Return all that is signed."""
        return {"tool": TOOL, "version": _VERSION, **msgspec.to_builtins(self)}

    @classmethod
    def parse(cls, text: str | None) -> OwnershipComment | None:
        """Parse *text*; return None unless it is an ownership comment."""
        fields = parse_fields(text)
        return cls.from_fields(fields) if fields else None

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> OwnershipComment | None:
        """Return the comment with these *fields*; None unless it is an ownership comment."""
        try:
            if (fields.get("tool"), fields.get("version")) != (TOOL, _VERSION):
                return None
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError:
            return None


def parse_fields(text: str | None) -> dict[str, Any] | None:
    """Return the JSON object *text*, None if it is not one."""
    try:
        data = msgspec.json.decode(text or "")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def read_comment(connection: Connection[Any], name: str) -> OwnershipComment | None:
    """
    Return what the comment on the database *name* says, None if it has no ownership comment or does not exist.

    It proves nothing.
    """
    query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    return OwnershipComment.parse(scalar(connection, query, [name]))


def set_comment(
    connection: Connection[Any], signer: Signer, name: str, comment: OwnershipComment, *, oid: int | None = None
) -> int:
    """
    Sign *comment* and write it on the database *name*; return the database's oid.

    Args:
        comment: If its `created_at` is empty, the server's clock is written.
        oid: What the database is expected to be. After a rename in the same transaction, no other can have its name.

    Raises:
        OwnershipError: If another database has that name now.
    """
    from psycopg import sql

    columns: LiteralString = f"d.oid::int8, {SERVER_ID}, CASE WHEN {OWNED} THEN 0 ELSE d.datdba::int8 END, {NOW}"
    row = connection.execute(f"SELECT {columns} FROM pg_database d WHERE d.datname = %s", [name]).fetchone()
    if oid is not None and (row is None or row[0] != oid):
        raise OwnershipError(f"another database has the name `{name}` now", hint="run the same command again")
    found, server, given_to, now = row or (0, 0, 0, 0.0)  # COMMENT fails on a missing database
    created_at = comment.created_at or format_instant(now)
    fields = msgspec.structs.replace(comment, created_at=created_at, given_to=given_to).fields()
    text = json.dumps({**fields, "proof": signer.sign(server, found, fields)}, sort_keys=True)
    statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(text)))
    return found


def format_instant(seconds: float) -> str:
    """Return the instant *seconds* after 1970 in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def read_clock(connection: Connection[Any]) -> str:
    """Return the server's clock in ISO 8601; a client's clock may be wrong."""
    return format_instant(scalar(connection, f"SELECT {NOW}"))
