"""
Drop databases of this tool; no other module drops one.

The golden template and PostgreSQL's own databases are never dropped.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership.comment import MAINTENANCE_NAMES
from tasks_lib.databases.ownership.proof import Proven, Unproven, find_ours, is_owner_trusted, look_up
from tasks_lib.databases.server.connection import TOOL, scalar
from tasks_lib.errors import OwnershipError

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import Owner, Role
    from tasks_lib.databases.ownership.signer import Signer


def drop_owned(
    connection: Connection[Any], name: str, owner: Owner, role: Role, *, golden: str, force: bool = True
) -> bool:
    """
    Drop the database *name* of *owner*; return whether it existed.

    Args:
        golden: Name of the golden template, which is never dropped.
        force: End the sessions in it.

    Raises:
        OwnershipError: If it does not provably belong to *owner* in that *role*.
        psycopg.errors.ObjectInUse: If a session is connected to it and *force* is false.
    """
    if name in MAINTENANCE_NAMES or name == golden:
        raise OwnershipError(f"database `{name}` is never dropped", why="it is the golden template or PostgreSQL's own")
    if find_ours(connection, name, owner, role) is None:
        return False
    _drop(connection, name, force=force)
    return True


def new_temporary_name() -> str:
    """
    Return a random name for a database under construction.

    The name is recorded before the database is created. If the process dies before it writes the comment, the name's
    64 random bits prove that the database is ours.
    """
    return f"{TOOL}_tmp_{secrets.token_hex(8)}"


def drop_temporary(connection: Connection[Any], name: str, *, signer: Signer, golden: str, force: bool = True) -> bool:
    """
    Drop the database with the temporary name *name*, and the role of that name; return whether the database existed.

    The caller has recorded the name and holds its advisory lock.

    Args:
        golden: Name of the database that it is a copy of, whose owner may own it; empty for none.
        force: End the sessions in it.

    Raises:
        OwnershipError: If this tool did not generate the name, or another role owns the database, or it has a comment
            that does not prove it ours.
        psycopg.errors.ObjectInUse: If a session is connected to it and *force* is false.
    """
    if not re.fullmatch(rf"{TOOL}_tmp_[0-9a-f]{{16}}", name):
        raise OwnershipError(f"`{name}` is not a temporary name of this tool")
    found = look_up(connection, signer, name)
    if found is None:
        _drop_login(connection, name)
        return False
    if isinstance(found, Unproven) and not (found.bare and is_owner_trusted(connection, name, golden)):
        raise found.error()
    if isinstance(found, Proven) and found.comment.role != "temporary":
        raise OwnershipError(f"database `{name}` is not a temporary one", why=f"it is a {found.comment.role}")
    _drop(connection, name, force=force)
    _drop_login(connection, name)
    return True


def _drop_login(connection: Connection[Any], name: str) -> None:
    """Drop the role that restores into the temporary database *name*, if a killed process left it."""
    from psycopg import sql

    if scalar(connection, "SELECT true FROM pg_roles WHERE rolname = %s", [name]):
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def _drop(connection: Connection[Any], name: str, *, force: bool) -> None:
    from psycopg import sql

    database = sql.Identifier(name)
    if scalar(connection, "SELECT datistemplate FROM pg_database WHERE datname = %s", [name]):
        connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(database))
    # FORCE needs PostgreSQL 13, our oldest.
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)" if force else "DROP DATABASE IF EXISTS {}")
    connection.execute(statement.format(database))
