"""
Look up the golden template's properties from the maintenance database, and check that it can be cloned.

Nothing here connects to golden itself, because any session there would block a copy by TEMPLATE.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.databases.server.connection import TOOL, is_local, scalar
from tasks_lib.errors import DatabaseError, GoldenMissingError
from tasks_lib.output import format_sessions

if TYPE_CHECKING:
    from psycopg import Connection


@dataclass(frozen=True)
class Golden:
    """
    Properties of the golden template that cloning depends on.

    Attributes:
        provider: `c` libc, `i` ICU, `b` builtin (from PostgreSQL 17 on).
        locale: The locale for ICU or the builtin provider; *collate* and *ctype* are for libc.
        bytes: Size on disk.
        sessions: Number of connected sessions, without autovacuum workers, which the server ends itself.
        prepared: Number of prepared transactions in it.
        tablespace: None if our role may not create a database there.
        ours: Whether our role may act as its owner and make it the owner of a copy.
    """

    name: str
    oid: int
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str | None
    icu_rules: str | None
    tablespace: str | None
    bytes: int
    sessions: int
    prepared: int
    ours: bool

    @property
    def connected(self) -> str:
        """The number of sessions as the beginning of a sentence: "2 sessions are connected"."""
        return format_sessions(self.sessions)


_LOG_BYTES = 1024**3
"""Default size at which the write-ahead log is recycled (`max_wal_size`)."""

_RESERVE_BYTES = 64 * 1024**2

# One row for each major version that changed pg_database's locale columns (the catalog's page in each manual).
_LOCALE_COLUMNS: tuple[tuple[int, LiteralString], ...] = (
    (17, "d.datlocprovider::text, d.datlocale, d.daticurules"),
    (16, "d.datlocprovider::text, d.daticulocale, d.daticurules"),
    (15, "d.datlocprovider::text, d.daticulocale, NULL"),
    (0, "'c', NULL, NULL"),
)


def require_golden(connection: Connection[Any], name: str) -> Golden:
    """
    Describe the golden template *name*.

    Raises:
        GoldenMissingError: If it does not exist.
        DatabaseError: If it does not accept connections, or our role may not create databases.
    """
    golden = require_open(connection, name)
    require_may_create(connection)
    return golden


def require_open(connection: Connection[Any], name: str) -> Golden:
    """
    Describe the golden template *name*, for callers that only connect to it.

    Raises:
        GoldenMissingError: If it does not exist.
        DatabaseError: If it does not accept connections.
    """
    found = _look_up(connection, name)
    if found is None:
        raise _missing(connection, name)
    golden, accepts_connections = found
    if not accepts_connections:
        raise DatabaseError(
            f"the golden template `{name}` accepts no connections",
            hint=f"psql postgres -c 'ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS true'",
        )
    return golden


def require_may_create(connection: Connection[Any]) -> None:
    """
    Check that our role may create databases.

    Raises:
        DatabaseError: If it may not.
    """
    if not scalar(connection, "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"):
        role = connection.info.user
        raise DatabaseError(
            f"role `{role}` may not create databases",
            why="every worktree gets its own database",
            hint=f'as a superuser: ALTER ROLE "{role}" CREATEDB',
        )


def describe_database(connection: Connection[Any], name: str) -> Golden | None:
    """Describe the database *name* as if it were a golden template, without checks; None if it does not exist."""
    found = _look_up(connection, name)
    return found[0] if found else None


def _look_up(connection: Connection[Any], name: str) -> tuple[Golden, bool] | None:
    """Return the properties of the database *name*, and whether it accepts connections."""
    major = connection.info.server_version // 10_000
    locale = next(columns for since, columns in _LOCALE_COLUMNS if major >= since)
    query: LiteralString = (
        "SELECT d.oid::int8, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, "
        + locale
        + """,
            CASE WHEN has_tablespace_privilege(t.oid, 'CREATE') THEN t.spcname END, pg_database_size(d.oid),
            (SELECT count(*) FROM pg_stat_activity a
             WHERE a.datid = d.oid AND a.backend_type IS DISTINCT FROM 'autovacuum worker'),
            (SELECT count(*) FROM pg_prepared_xacts x WHERE x.database = d.datname),
            pg_has_role(d.datdba, 'USAGE') AND pg_has_role(d.datdba, %s), d.datallowconn
        FROM pg_database d
        JOIN pg_tablespace t ON t.oid = d.dattablespace
        WHERE d.datname = %s"""
    )
    row = connection.execute(query, [role_transfer_privilege(connection), name]).fetchone()
    if row is None:
        return None
    *described, accepts_connections = row
    return Golden(name, *described), accepts_connections


def require_space(connection: Connection[Any], golden: Golden, *, copies: int = 1) -> None:
    """
    Check that the server's disk has room for copies of *golden*, if the server is on this machine.

    A server that cannot extend its write-ahead log stops and cannot start again (measured on 15 and 18).

    Raises:
        DatabaseError: If *copies* of golden and the log that they write may not fit.
    """
    directory = server_directory(connection)
    if directory is None:
        return
    free = shutil.disk_usage(directory).free
    needed = copies * golden.bytes + min(golden.bytes, _LOG_BYTES) + _RESERVE_BYTES
    if free < needed:
        raise DatabaseError(
            f"the server's disk has {free // 1024**2} MB left",
            why=f"a clone of `{golden.name}` may need {needed // 1024**2} MB, and a full disk stops the whole server",
            hint=f"free space where `{directory}` is, then run the same command",
        )


def server_directory(connection: Connection[Any]) -> Path | None:
    """Return the server's data directory, None if it is not on this machine or our role may not read the setting."""
    if not is_local(connection):
        return None
    # Ordinary roles cannot read this setting; a container's directory does not exist here.
    found = scalar(connection, "SELECT setting FROM pg_settings WHERE name = 'data_directory'")
    return Path(found) if found and os.access(found, os.F_OK) else None


def role_transfer_privilege(connection: Connection[Any]) -> str:
    """Return what `pg_has_role` calls the right to make a role an owner; from 16 on, not every member has it."""
    return "SET" if connection.info.server_version >= 160_000 else "MEMBER"


def _missing(connection: Connection[Any], name: str) -> GoldenMissingError:
    others = [
        row[0]
        for row in connection.execute(
            "SELECT datname FROM pg_database "
            "WHERE NOT datistemplate AND NOT starts_with(datname, %s) AND strpos(datname, '_parked_') = 0 "
            "ORDER BY 1 LIMIT 12",
            [f"{TOOL}_"],
        )
    ]
    return GoldenMissingError(
        f"golden template `{name}` does not exist on the server",
        why=f"databases there: {', '.join(others)}",
        hint=f"set WORKTREE_TEMPLATE_DB; or create {name} and restore into it (log in with `inv server.status`); or\n"
        "inv golden.pull   # creates it from PULL_DATABASE_URL\n"
        "inv golden.build  # creates it from migrations, for Loquent",
    )


SMALL_BYTES = 96 * 1024**2
"""
Up to this size a copy is written through the write-ahead log, above it file by file.

Measured on 15 and 18 (bench/strategies.py): the log is always faster up to 97 MB; plain files are faster from 203 MB
on, shared blocks from 132 MB on. A full disk during a logged copy stops the whole server, so large copies never use it.
"""
