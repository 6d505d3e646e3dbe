"""
Read, write and check the comment on a database that says which worktree owns it.

A name never authorises anything. A database is ours when its comment parses as an `OwnershipComment` and names this
repository. `drop` deletes it only in the role that the caller expects.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tasks_lib.databases.server.connection import TOOL, scalar
from tasks_lib.databases.server.ddl import INVALID, database_exists
from tasks_lib.errors import OwnershipError

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.signer import Signer

Role = Literal["clone", "temporary", "snapshot", "spare", "parked"]

MAINTENANCE_NAMES = frozenset({"postgres", "template0", "template1"})

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
        created_at: ISO 8601 with offset; for a snapshot, the instant whose data it shows.
        fingerprint: Golden's fingerprint at that instant, empty if unknown.
        database: The previous name of a parked database.
        parked_at: When a parked database was parked, in ISO 8601; databases parked together have the same instant.
    """

    repository: str
    slug: str
    role: Role
    golden: str
    created_at: str = msgspec.field(name="created")
    fingerprint: str = ""
    database: str = ""
    parked_at: str = msgspec.field(default="", name="parked")

    def text(self) -> str:
        """Format the comment as JSON, with sorted keys."""
        return json.dumps({"tool": TOOL, "version": _VERSION, **msgspec.to_builtins(self)}, sort_keys=True)

    @classmethod
    def parse(cls, text: str | None) -> OwnershipComment | None:
        """Parse *text*; return None unless all of it is as `text` writes it."""
        try:
            data = msgspec.json.decode(text or "")
            if not isinstance(data, dict) or (data.pop("tool", ""), data.pop("version", 0)) != (TOOL, _VERSION):
                return None
            return msgspec.convert(data, cls)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None


def read_comment(connection: Connection[Any], name: str) -> OwnershipComment | None:
    """Return the ownership comment of the database *name*, None if it has none or does not exist."""
    return OwnershipComment.parse(read_comment_text(connection, name))


def read_comment_text(connection: Connection[Any], name: str) -> str | None:
    """Return the text of the comment on the database *name*, None if it has none or does not exist."""
    query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    text: str | None = scalar(connection, query, [name])
    return text


def set_comment(connection: Connection[Any], name: str, comment: OwnershipComment) -> None:
    """Write *comment* on the database *name*."""
    from psycopg import sql

    statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(comment.text())))


def list_commented(connection: Connection[Any], prefix: str, *, usable: bool) -> dict[str, OwnershipComment]:
    """
    Return the ownership comments of the databases whose names begin with *prefix*, by name.

    Args:
        usable: Leave out databases that an interrupted DROP DATABASE has left behind.
    """
    rows = connection.execute(
        "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database "
        "WHERE starts_with(datname, %s) AND (datconnlimit <> %s OR NOT %s)",
        [prefix, INVALID, usable],
    )
    comments = {name: OwnershipComment.parse(text) for name, text in rows}
    return {name: comment for name, comment in comments.items() if comment is not None}


def require_ours(connection: Connection[Any], name: str, owner: Owner, role: Role) -> OwnershipComment:
    """
    Return the ownership comment of *name* after proving that the database belongs to *owner* in that *role*.

    Raises:
        OwnershipError: If it does not exist, has no ownership comment, or has another owner or role.
    """
    comment = read_comment(connection, name)
    if comment is None and not database_exists(connection, name):
        raise OwnershipError(
            f"database `{name}` does not exist", why="setup makes what is missing", hint="inv worktree.setup"
        )
    if comment is None:
        raise OwnershipError(
            f"database `{name}` is not ours",
            why="it has no ownership comment, so this tool did not create it",
            hint="rename it, or set WORKTREE_DB_PREFIX so that this repository's databases are named differently",
        )
    if comment.repository != owner.repository:
        raise OwnershipError(
            f"database `{name}` belongs to another repository",
            why=f"its comment names repository {comment.repository}; this one is {owner.repository}",
            hint="set WORKTREE_DB_PREFIX so that this repository's databases are named differently",
        )
    if (comment.slug, comment.role) != (owner.slug, role):
        raise OwnershipError(
            f"database `{name}` is the {comment.role} of worktree `{comment.slug}`",
            why=f"expected the {role} of worktree `{owner.slug}`",
        )
    return comment
