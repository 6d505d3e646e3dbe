"""
Refuse to make an account on another machine, in production, or in a worktree's database.
"""

from __future__ import annotations

import re
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.databases.compare.foreign_code import IS_FOREIGN
from tasks_lib.databases.ownership.comment import MAINTENANCE_NAMES, read_comment
from tasks_lib.databases.server.connection import is_local, scalar
from tasks_lib.errors import OwnershipError, SettingsError
from tasks_lib.output import format_first

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from tasks_lib.databases.server.connection import Server
    from tasks_lib.databases.server.url import DatabaseUrl

NAME_BYTES = 63
"""The length to which PostgreSQL shortens names without an error (NAMEDATALEN - 1)."""

_PRODUCTION = re.compile(r"(?<![a-z])(prod|production|live)(?![a-z])", re.IGNORECASE)


def require_name(connection: Connection[Any], name: str) -> None:
    """
    Check that *name* may be the name of a golden template.

    Raises:
        SettingsError: If PostgreSQL would shorten it.
        OwnershipError: If it is a database of PostgreSQL, or one of ours with another role.
    """
    if not 0 < len(name.encode()) <= NAME_BYTES or "\0" in name:
        raise SettingsError(
            f"`{name}` cannot be the name of a golden template", why=f"a database's name has 1 to {NAME_BYTES} bytes"
        )
    if name in MAINTENANCE_NAMES:
        raise OwnershipError(f"`{name}` is PostgreSQL's own database", why="it must not contain an account")
    if mark := read_comment(connection, name):
        raise OwnershipError(
            f"`{name}` is the {mark.role} of {f'worktree `{mark.slug}`' if mark.slug else f'`{mark.golden}`'}",
            why="accounts are made only in golden templates; clones copy them",
            hint="build the configured golden template, without --into:\ninv golden.build",
        )


def require_development(server: Server, connection: Connection[Any], name: str, *, pulled: DatabaseUrl | None) -> None:
    """
    Refuse a server on another machine, and one that looks like production.

    Args:
        connection: To the server's maintenance database.
        name: The golden template.
        pulled: The database at PULL_DATABASE_URL.

    Raises:
        OwnershipError: With a hint about `--force`.
    """
    host = connection.info.host
    words = {"host": host, "user": connection.info.user, "database": server.url.database or "", "golden": name}
    looks = next(
        (f"the name of its {what} is `{word}`" for what, word in words.items() if _PRODUCTION.search(word)), ""
    )
    why = ""
    if not is_local(connection):
        why = f"it is at {host}, not on this machine"
    elif pulled and _place(pulled) == _place(server.url.with_database(name)):
        why = f"PULL_DATABASE_URL reads `{name}` there, so it is expected to be production"
    elif looks:
        why = f"it looks like production: {looks}"
    if why:
        raise OwnershipError(
            f"golden.build does not build on the server at {server.url.masked}",
            why=f"{why}\na development account does not belong among real customers",
            hint="if that is intended:\ninv golden.build --force",
        )


def _place(url: DatabaseUrl) -> tuple[str, ...]:
    """Return host, port and database of *url*, with `localhost` for each usual name of this machine."""
    host = url.parameters.get("host", "localhost")
    here = "localhost" if host in ("127.0.0.1", "::1") else host
    return here, url.parameters.get("port", "5432"), url.database or ""


_CODE_OWNERS: LiteralString = """
    SELECT DISTINCT pg_get_userbyid(owner) FROM (
        SELECT 'pg_class'::regclass AS class, oid, relowner AS owner FROM pg_class WHERE relpersistence <> 't'
        UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
        UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner FROM pg_operator
        UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_type
        UNION ALL SELECT 'pg_database'::regclass, oid, datdba FROM pg_database WHERE datname = current_database()
    ) AS objects
    WHERE oid >= 16384
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = objects.oid AND d.deptype = 'e')
        AND {foreign}
    ORDER BY 1""".replace("{foreign}", IS_FOREIGN.replace("{owner}", "owner"))


@contextmanager
def connect_with_search_path(server: Server, database: str) -> Iterator[Connection[Any]]:
    """
    Connect to *database* with the search path of the product, whose tables are not qualified in our statements.

    Raises:
        OwnershipError: If another role could have made what our statements run: functions, operators, triggers.
    """
    with server.connect(database, keep_search_path=True) as connection:
        path = scalar(connection, "SELECT pg_catalog.current_setting('search_path')")
        connection.execute("SET search_path = pg_catalog, pg_temp")
        if others := [name for (name,) in connection.execute(_CODE_OWNERS)]:
            raise OwnershipError(
                f"`{database}` has objects of {format_first([f'role `{name}`' for name in others], 5)}",
                why=f"functions and triggers of theirs would run as role `{connection.info.user}`",
                hint=f"let {server.url.source} log in as their owner, or give the objects to our role:\n"
                f"psql {shlex.quote(database)} -c 'REASSIGN OWNED BY \"{others[0]}\" TO CURRENT_USER'",
            )
        connection.execute("SELECT set_config('search_path', %s, false)", [path])
        yield connection


def require_sandbox(connection: Connection[Any], name: str) -> None:
    """
    Refuse a database whose Stripe key charges real money.

    Args:
        name: The database's present or future name.

    Raises:
        OwnershipError: If its Stripe key is a live one.
    """
    if connection.execute("SELECT to_regclass('core_conf') IS NULL").fetchone() == (True,):
        return
    found = connection.execute("SELECT FROM core_conf WHERE stripe_secret_key ~ '^[rs]k_live_' LIMIT 1").fetchone()
    if found is not None:
        raise OwnershipError(
            f"`{name}` has a live Stripe key",
            why="it looks like production; a development account does not belong among real customers",
            hint="if that is intended:\ninv golden.build --force",
        )
