"""
Take and release advisory locks, so that one process at a time builds, uses or drops a database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import DatabaseError

if TYPE_CHECKING:
    from psycopg import Connection


def advisory_lock(connection: Connection[Any], name: str, *, timeout: str = "10s") -> None:
    """
    Take the advisory lock *name* until `advisory_unlock`, or until *connection* ends.

    Args:
        timeout: How long to wait, as PostgreSQL writes durations; `0` waits for ever.

    Raises:
        DatabaseError: If another process still holds it after *timeout*.
    """
    from psycopg import errors

    connection.execute("SELECT set_config('lock_timeout', %s, false)", [timeout])
    try:
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
    except errors.LockNotAvailable:
        raise DatabaseError(
            f"another process is still making `{name}`", hint="wait for it, then run the same command"
        ) from None
    finally:
        connection.execute("RESET lock_timeout")


def try_advisory_lock(connection: Connection[Any], name: str) -> bool:
    """Take the advisory lock *name* if it is free; return whether it was."""
    return bool(scalar(connection, "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]))


def advisory_unlock(connection: Connection[Any], name: str) -> None:
    """Release the advisory lock *name*."""
    connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])
