"""
Where an account must not be made unasked: on another machine, in production, in a worktree's own database.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership.comment import MAINTENANCE_NAMES, read_comment
from tasks_lib.databases.server.connection import is_local
from tasks_lib.errors import OwnershipError, SettingsError

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.server.connection import Server
    from tasks_lib.databases.server.url import DatabaseUrl

NAME_BYTES = 63
"""What PostgreSQL cuts a name at, without an error (NAMEDATALEN - 1)."""

_PRODUCTION = re.compile(r"(?<![a-z])(prod|production|live)(?![a-z])", re.IGNORECASE)


def require_name(connection: Connection[Any], name: str) -> None:
    """
    Make sure that a golden template may be called *name*.

    Raises:
        SettingsError: If PostgreSQL would cut it.
        OwnershipError: If it is the name of one of PostgreSQL's own databases, or of one of ours with another role.
    """
    if not 0 < len(name.encode()) <= NAME_BYTES or "\0" in name:
        raise SettingsError(
            f"a golden template cannot be called `{name}`", why=f"a database's name has 1 to {NAME_BYTES} bytes"
        )
    if name in MAINTENANCE_NAMES:
        raise OwnershipError(f"`{name}` is PostgreSQL's own database", why="no account is made in it")
    if mark := read_comment(connection, name):
        raise OwnershipError(
            f"`{name}` is the {mark.role} of {f'worktree `{mark.slug}`' if mark.slug else f'`{mark.golden}`'}",
            why="an account is made in a golden template only; clones get it from there",
            hint="inv golden.build, without --into, builds the golden template that is configured",
        )


def require_development(server: Server, connection: Connection[Any], name: str, *, pulled: DatabaseUrl | None) -> None:
    """
    Refuse a server on another machine, and what looks like production.

    Args:
        connection: To the server's maintenance database.
        name: The golden template.
        pulled: What PULL_DATABASE_URL reads.

    Raises:
        OwnershipError: With the flag that goes on all the same.
    """
    host = connection.info.host
    words = {"host": host, "user": connection.info.user, "database": server.url.database or "", "golden": name}
    looks = next((f"its {what} is called `{word}`" for what, word in words.items() if _PRODUCTION.search(word)), "")
    why = ""
    if not is_local(connection):
        why = f"it is at {host}, not on this machine"
    elif pulled and _place(pulled) == _place(server.url.with_database(name)):
        why = f"PULL_DATABASE_URL reads `{name}` there, which is where production's data is expected"
    elif looks:
        why = f"it looks like production: {looks}"
    if why:
        raise OwnershipError(
            f"golden.build does not build on the server at {server.url.masked}",
            why=f"{why}\na made-up account has no place among real people's",
            hint="--force builds there all the same",
        )


def _place(url: DatabaseUrl) -> tuple[str, ...]:
    """Return where *url* leads, one word for this machine's usual names."""
    host = url.parameters.get("host", "localhost")
    here = "localhost" if host in ("127.0.0.1", "::1") else host
    return here, url.parameters.get("port", "5432"), url.database or ""


def require_sandbox(connection: Connection[Any], name: str) -> None:
    """
    Refuse a database that charges real money, which no name gives away.

    Args:
        name: What it is called, or will be.

    Raises:
        OwnershipError: If its Stripe key is a live one.
    """
    if connection.execute("SELECT to_regclass('core_conf') IS NULL").fetchone() == (True,):
        return
    found = connection.execute("SELECT FROM core_conf WHERE stripe_secret_key ~ '^[rs]k_live_' LIMIT 1").fetchone()
    if found is not None:
        raise OwnershipError(
            f"`{name}` has a live key of Stripe",
            why="it looks like production; a made-up account has no place among real people's",
            hint="--force builds there all the same",
        )
