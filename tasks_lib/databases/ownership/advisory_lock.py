"""
Take and release advisory locks, so that one process at a time builds, uses or drops a database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership.signer import public_lock_key
from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import DatabaseError

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.signer import Signer


def advisory_lock(connection: Connection[Any], signer: Signer | None, name: str, *, timeout: str = "10s") -> None:
    """
    Take the advisory lock *name* until `advisory_unlock`, or until *connection* ends.

    Args:
        signer: The repository whose lock it is; None for one that all repositories share.
        timeout: How long to wait, as PostgreSQL writes durations; `0` waits for ever.

    Raises:
        DatabaseError: If another process still holds it after *timeout*.
    """
    from psycopg import errors

    connection.execute("SELECT set_config('lock_timeout', %s, false)", [timeout])
    try:
        connection.execute("SELECT pg_advisory_lock(%s::int8)", [_lock_key(signer, name)])
    except errors.LockNotAvailable:
        raise DatabaseError(
            f"another process is still making `{name}`", hint="wait for it, then run the same command"
        ) from None
    finally:
        connection.execute("RESET lock_timeout")


def try_advisory_lock(connection: Connection[Any], signer: Signer | None, name: str) -> bool:
    """Take the advisory lock *name* if it is free; return whether it was."""
    return bool(scalar(connection, "SELECT pg_try_advisory_lock(%s::int8)", [_lock_key(signer, name)]))


def advisory_unlock(connection: Connection[Any], signer: Signer | None, name: str) -> None:
    """Release the advisory lock *name*."""
    connection.execute("SELECT pg_advisory_unlock(%s::int8)", [_lock_key(signer, name)])


def _lock_key(signer: Signer | None, name: str) -> int:
    return signer.lock_key(name) if signer else public_lock_key(name)
