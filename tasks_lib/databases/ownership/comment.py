"""
Ownership: the comment on a database that says whose it is, and the one place that drops.

A name never authorises anything. A database is ours when its comment parses as our mark and names
this repository; it is dropped only in the role that the caller expects, and never when it is the
golden template or a maintenance database.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import OwnershipError

if TYPE_CHECKING:
    from psycopg import Connection

Role = Literal["clone", "temporary", "snapshot", "spare", "parked"]

TOOL = "goldentree"
MAINTENANCE_NAMES = frozenset({"postgres", "template0", "template1"})

_SESSION_GRACE = 5.0
"""Seconds that PostgreSQL itself waits for sessions to leave (CountOtherDBBackends, procarray.c)."""

INVALID = -2
"""What `datconnlimit` is then (DATCONNLIMIT_INVALID_DB, pg_database.h)."""

READER = f"{TOOL} reader"
"""What sessions of this tool are called that read golden and are about to leave."""

_READER_GRACE = 0.5
"""Seconds to wait for them."""


@dataclass(frozen=True)
class OwnershipComment:
    """
    What the comment on one of our databases says.

    Attributes:
        repository: Id of the repository whose worktree it serves.
        slug: The worktree's slug, empty for what belongs to no single one.
        role: What the database is.
        golden: Name of the golden template that it was cloned from.
        created: When, in ISO 8601 with offset; of a snapshot, the moment that it shows.
        fingerprint: Golden's at that moment, empty where it is not known.
        database: Of a parked one: the name that it had.
        parked: Of a parked one: when that was, in ISO 8601; what was parked together has the same.
    """

    repository: str
    slug: str
    role: Role
    golden: str
    created: str
    fingerprint: str = ""
    database: str = ""
    parked: str = ""

    def text(self) -> str:
        """Return the comment."""
        return json.dumps({"tool": TOOL, "version": 1, **asdict(self)}, sort_keys=True)

    @classmethod
    def parse(cls, comment: str | None) -> OwnershipComment | None:
        """Return the mark in *comment*, None for anything that is not wholly ours."""
        try:
            data = json.loads(comment or "")
            if data.pop("tool") != TOOL or data.pop("version") != 1:
                return None
            data = {"fingerprint": "", "database": "", "parked": "", **data}  # earlier versions did not write them
            return cls(**{field.name: str(data[field.name]) for field in fields(cls)})  # type: ignore[arg-type]
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return None


def exists(connection: Connection[Any], name: str) -> bool:
    """Whether there is a database *name*."""
    return scalar(connection, "SELECT 1 FROM pg_database WHERE datname = %s", [name]) is not None


def read_comment(connection: Connection[Any], name: str) -> OwnershipComment | None:
    """Return the mark of the database *name*, None where it bears none of ours or is not there."""
    return OwnershipComment.parse(_comment(connection, name))


def require_ours(connection: Connection[Any], name: str, *, repository: str, slug: str, role: Role) -> OwnershipComment:
    """
    Return the mark of *name* after proving that it is this worktree's database.

    Raises:
        OwnershipError: If it is another's, nobody's, or has another role.
    """
    mark = read_comment(connection, name)
    if mark is None and not exists(connection, name):
        raise OwnershipError(f"there is no database `{name}`", hint="inv worktree.setup makes what is missing")
    if mark is None:
        raise OwnershipError(
            f"database `{name}` is not ours",
            why="it bears no comment of this tool, so somebody else made it",
            hint="rename it, or set WORKTREE_DB_PREFIX so that this repository's databases are named differently",
        )
    if mark.repository != repository:
        raise OwnershipError(
            f"database `{name}` belongs to another repository",
            why=f"its comment names repository {mark.repository}; this one is {repository}",
            hint="set WORKTREE_DB_PREFIX so that this repository's databases are named differently",
        )
    if (mark.slug, mark.role) != (slug, role):
        raise OwnershipError(
            f"database `{name}` is the {mark.role} of worktree `{mark.slug}`",
            why=f"expected the {role} of worktree `{slug}`",
        )
    return mark


def drop(
    connection: Connection[Any],
    name: str,
    *,
    repository: str,
    slug: str,
    role: Role,
    golden: str,
    force: bool = True,
) -> bool:
    """
    Drop the database *name* if it is this worktree's in the role *role*; return whether there was one.

    Args:
        force: End the sessions in it.

    Raises:
        OwnershipError: If it is not provably that.
        psycopg.errors.ObjectInUse: If somebody is connected to it who is not to be ended.
    """
    if name in MAINTENANCE_NAMES or name == golden:
        raise OwnershipError(f"database `{name}` is never dropped", why="it is the golden template or PostgreSQL's own")
    if not exists(connection, name):
        return False
    require_ours(connection, name, repository=repository, slug=slug, role=role)
    _drop(connection, name, force=force)
    return True


def _drop(connection: Connection[Any], name: str, *, force: bool = True) -> None:
    from psycopg import sql

    database = sql.Identifier(name)
    if scalar(connection, "SELECT datistemplate FROM pg_database WHERE datname = %s", [name]):
        connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(database))
    # FORCE needs PostgreSQL 13, our oldest.
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)" if force else "DROP DATABASE IF EXISTS {}")
    connection.execute(statement.format(database))


def _comment(connection: Connection[Any], name: str) -> str | None:
    query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    comment: str | None = scalar(connection, query, [name])
    return comment


def new_temporary_name() -> str:
    """
    Return a name that nobody else has or will have.

    It is written down before the database is made: where the process dies before the comment is
    there, those 64 random bits are the proof that the database is ours.
    """
    return f"{TOOL}_tmp_{secrets.token_hex(8)}"


def drop_temporary(connection: Connection[Any], name: str, *, repository: str, force: bool = True) -> bool:
    """
    Drop what bears the temporary name *name*, which this tool gave out and whose lock we hold.

    Returns whether there was a database.

    Args:
        force: End the sessions in it.

    Raises:
        OwnershipError: If the name is not one of ours, or the comment says that it is another's.
        psycopg.errors.ObjectInUse: As `drop`.
    """
    if not re.fullmatch(rf"{TOOL}_tmp_[0-9a-f]{{16}}", name):
        raise OwnershipError(f"`{name}` is not a temporary name of this tool")
    if not exists(connection, name):
        return False
    comment = _comment(connection, name)
    mark = OwnershipComment.parse(comment)
    if comment is not None and (mark is None or (mark.repository, mark.role) != (repository, "temporary")):
        raise OwnershipError(
            f"database `{name}` is not a temporary one of this repository", why=f"its comment says: {comment[:200]}"
        )
    _drop(connection, name, force=force)
    return True


def list_commented(connection: Connection[Any], prefix: str, *, usable: bool) -> dict[str, OwnershipComment]:
    """
    Return the mark of every database whose name begins with *prefix* and whose comment is ours.

    Args:
        usable: Leave out what an interrupted DROP DATABASE has left.
    """
    rows = connection.execute(
        "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database "
        "WHERE starts_with(datname, %s) AND (datconnlimit <> %s OR NOT %s)",
        [prefix, INVALID, usable],
    )
    marks = {name: OwnershipComment.parse(comment) for name, comment in rows}
    return {name: mark for name, mark in marks.items() if mark is not None}


def is_invalid(connection: Connection[Any], name: str) -> bool:
    """Whether an interrupted DROP DATABASE has left *name*: listed, but nothing can be done but drop it."""
    return bool(scalar(connection, "SELECT datconnlimit = %s FROM pg_database WHERE datname = %s", [INVALID, name]))


def await_readers(connection: Connection[Any], name: str) -> None:
    """Wait until this tool's own sessions, which only read golden for milliseconds, have left *name*."""
    deadline = time.monotonic() + _READER_GRACE
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = %s"
    while scalar(connection, query, [name, READER]) and time.monotonic() < deadline:
        time.sleep(0.002)


def await_no_sessions(connection: Connection[Any], name: str) -> None:
    """
    Wait until nobody is connected to *name*, at most five seconds.

    RENAME and TEMPLATE look for sessions themselves, but in steps of 100 ms; a backend whose client
    has just left is gone after about one.
    """
    deadline = time.monotonic() + _SESSION_GRACE
    # An autovacuum worker is sent away by whoever needs the database.
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type IS DISTINCT FROM 'autovacuum worker'"
    )
    while scalar(connection, query, [name]) and time.monotonic() < deadline:
        time.sleep(0.002)


def set_comment(connection: Connection[Any], name: str, mark: OwnershipComment) -> None:
    """Write *mark* as the comment of the database *name*."""
    from psycopg import sql

    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(mark.text())))
