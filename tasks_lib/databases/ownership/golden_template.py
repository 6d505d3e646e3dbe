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
from tasks_lib.errors import DatabaseError, GoldenMissingError, ServerError
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
        bytes: Size on disk; 0 if our role may not connect to it, and so may not see the size.
        sessions: Number of connected sessions, without autovacuum workers, which the server ends itself.
        prepared: Number of prepared transactions in it.
        tablespace: None if our role may not create a database there.
        ours: Whether our role may act as its owner and make it the owner of a copy.
        role: Our role.
        member: Whether our role is a member of the owner in any way, even if it may not act as the owner.
        admin: Whether our role may grant membership in the owner, to itself too.
        connectable: Whether our role may connect to it.
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
    role: str
    member: bool
    admin: bool
    connectable: bool

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
        ServerError: If the server is a standby.
        DatabaseError: If it does not accept connections, or our role may not create databases.
    """
    require_primary(connection)
    golden, may_create = _require_open(connection, name)
    if not may_create:
        raise _may_not_create(golden.role)
    return golden


def require_open(connection: Connection[Any], name: str) -> Golden:
    """
    Describe the golden template *name*, for callers that only connect to it.

    Raises:
        GoldenMissingError: If it does not exist.
        DatabaseError: If it does not accept connections.
    """
    return _require_open(connection, name)[0]


def _require_open(connection: Connection[Any], name: str) -> tuple[Golden, bool]:
    """Describe the golden template *name*; also return whether our role may create databases."""
    found = _look_up(connection, name)
    if found is None:
        raise _missing(connection, name)
    golden, accepts_connections, may_create = found
    if not accepts_connections:
        raise DatabaseError(
            f"the golden template `{name}` accepts no connections",
            hint=f"psql postgres -c 'ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS true'",
        )
    return golden, may_create


def require_primary(connection: Connection[Any]) -> None:
    """
    Check that the server can be changed.

    Raises:
        ServerError: If it is a standby.
    """
    # From 14 on, the server reports it at login.
    reported = connection.info.parameter_status("in_hot_standby")
    if reported == "on" or (reported is None and scalar(connection, "SELECT pg_is_in_recovery()")):
        raise ServerError(
            f"the server at {connection.info.host}:{connection.info.port} is a standby",
            why="a standby is read-only: it can neither create nor rename databases",
            hint="let DATABASE_URL name the primary server",
        )


def require_may_create(connection: Connection[Any]) -> None:
    """
    Check that our role may create databases.

    Raises:
        ServerError: If the server is a standby.
        DatabaseError: If it may not.
    """
    require_primary(connection)
    if not scalar(connection, "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"):
        raise _may_not_create(connection.info.user)


def _may_not_create(role: str) -> DatabaseError:
    return DatabaseError(
        f"role `{role}` may not create databases",
        why="every worktree gets its own database",
        hint=f'as a superuser:\nALTER ROLE "{role}" CREATEDB',
    )


def format_membership_hint(connection: Connection[Any], golden: Golden) -> str:
    """Return the statement after which our role may act as golden's owner, below who must run it."""
    role, owner = golden.role, golden.owner
    if connection.info.server_version >= 160_000:
        # CREATEROLE gives ADMIN alone to the creator of a role.
        who = f"as `{role}`" if golden.admin else "as a superuser"
        return f'{who}:\nGRANT "{owner}" TO "{role}" WITH SET TRUE, INHERIT TRUE'
    # A member that may not act as the owner does not inherit its privileges.
    statement = f'ALTER ROLE "{role}" INHERIT' if golden.member else f'GRANT "{owner}" TO "{role}"'
    return f"as a superuser:\n{statement}"


def describe_database(connection: Connection[Any], name: str) -> Golden | None:
    """Describe the database *name* as if it were a golden template, without checks; None if it does not exist."""
    found = _look_up(connection, name)
    return found[0] if found else None


def _look_up(connection: Connection[Any], name: str) -> tuple[Golden, bool, bool] | None:
    """Return the properties of the database *name*, whether it is open, and whether our role may create databases."""
    major = connection.info.server_version // 10_000
    locale = next(columns for since, columns in _LOCALE_COLUMNS if major >= since)
    query: LiteralString = (
        "SELECT d.oid::int8, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, "
        + locale
        + """,
            CASE WHEN has_tablespace_privilege(t.oid, 'CREATE') THEN t.spcname END,
            CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) ELSE 0 END,
            (SELECT count(*) FROM pg_stat_activity a
             WHERE a.datid = d.oid AND a.backend_type IS DISTINCT FROM 'autovacuum worker'),
            (SELECT count(*) FROM pg_prepared_xacts x WHERE x.database = d.datname),
            pg_has_role(d.datdba, 'USAGE') AND pg_has_role(d.datdba, %s), current_user, pg_has_role(d.datdba, 'MEMBER'),
            pg_has_role(d.datdba, 'MEMBER WITH ADMIN OPTION'), has_database_privilege(d.oid, 'CONNECT'), d.datallowconn,
            (SELECT r.rolcreatedb OR r.rolsuper FROM pg_roles r WHERE r.rolname = current_user)
        FROM pg_database d
        JOIN pg_tablespace t ON t.oid = d.dattablespace
        WHERE d.datname = %s"""
    )
    row = connection.execute(query, [role_transfer_privilege(connection), name]).fetchone()
    if row is None:
        return None
    *described, accepts_connections, may_create = row
    return Golden(name, *described), accepts_connections, may_create


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
