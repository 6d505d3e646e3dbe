"""
Take and release advisory locks, so that one process at a time builds, uses or drops a database.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tasks_lib import waits
from tasks_lib.databases.ownership.signer import public_lock_key
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.waiting.sessions import read_sessions
from tasks_lib.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.ownership.signer import Signer
    from tasks_lib.databases.server.waiting.sessions import Session

PATIENCE_SECONDS = 10.0
"""How long to wait for a holder that makes no progress."""

STOPPED_SECONDS = 3.0
"""How long to wait for a holder whose client is stopped."""

_PAUSE_SECONDS = 0.02


class LockWaitError(DatabaseError):
    """An advisory lock that another session did not release."""


def advisory_lock(
    connection: Connection[Any],
    signer: Signer | None,
    name: str,
    *,
    purpose: str,
    seconds: float | None = None,
    read_progress: Callable[[Session], str | None] = lambda _: None,
    transaction: bool = False,
) -> None:
    """
    Take the advisory lock *name* until `advisory_unlock`, or until *connection* ends.

    A wait of more than a second is explained on stderr.

    Args:
        signer: The repository whose lock it is; None for one that all repositories share.
        purpose: What the lock is needed for: `to build `loquent_latest``.
        seconds: How long to wait for a holder that makes no progress; by default `PATIENCE_SECONDS`.
        read_progress: Returns a text that changes while the holder, a session of our own role, makes progress.
        transaction: Hold the lock until the end of the transaction.

    Raises:
        LockWaitError: If the holder still has it and made no progress for that long.
    """
    patience = PATIENCE_SECONDS if seconds is None else seconds
    due, moved = time.monotonic() + waits.QUIET_SECONDS, time.monotonic()
    said: tuple[int, str] | None = None
    progress: str | None = None
    holder: Session | None = None
    while not try_advisory_lock(connection, signer, name, transaction=transaction):
        now = time.monotonic()
        if now >= min(due, moved + patience):
            due = now + waits.QUIET_SECONDS
            holder = _find_holder(connection, _lock_key(signer, name))
            if holder and holder.client_pid:
                patience = min(patience, STOPPED_SECONDS)
            elif holder and holder.ours and (found := read_progress(holder)) is not None and found != progress:
                moved, progress = now, found
        if now >= moved + patience:
            raise LockWaitError(
                f"{holder or 'another session'} holds the lock that is needed {purpose}",
                why=f"it has made no progress for {patience:g} s",
                hint=holder.cure if holder else "run the same command again",
            )
        if holder and (holder.pid, holder.state) != said:
            said = holder.pid, holder.state
            waits.say(f"waiting {purpose} for {holder}\n{holder.cure}")
        time.sleep(_PAUSE_SECONDS)


def try_advisory_lock(
    connection: Connection[Any], signer: Signer | None, name: str, *, transaction: bool = False
) -> bool:
    """Take the advisory lock *name* if it is free, until the end of the *transaction* if so; return whether it was."""
    if transaction:
        return bool(scalar(connection, "SELECT pg_try_advisory_xact_lock(%s::int8)", [_lock_key(signer, name)]))
    return bool(scalar(connection, "SELECT pg_try_advisory_lock(%s::int8)", [_lock_key(signer, name)]))


def _find_holder(connection: Connection[Any], key: int) -> Session | None:
    """Return the session that holds the advisory lock *key*, None if it has just released it."""
    # How a key of 64 bits is shown: https://www.postgresql.org/docs/current/view-pg-locks.html
    rows = connection.execute(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND (classid::int8 << 32) | objid::int8 = %s::int8",
        [key],
    )
    return next(iter(read_sessions(connection, [pid for (pid,) in rows])), None)


def advisory_unlock(connection: Connection[Any], signer: Signer | None, name: str) -> None:
    """Release the advisory lock *name*."""
    connection.execute("SELECT pg_advisory_unlock(%s::int8)", [_lock_key(signer, name)])


def _lock_key(signer: Signer | None, name: str) -> int:
    return signer.lock_key(name) if signer else public_lock_key(name)
