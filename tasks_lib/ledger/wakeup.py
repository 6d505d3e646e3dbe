"""
Waiting for others to write: without asking the tables again and again, and without a transaction held open.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import sqlalchemy as sa

    from tasks_lib.ledger.ledger import Transaction

CHANNEL = "goldentree_ledger"
"""PostgreSQL's channel on which a question or an answer is announced."""

POLL_SECONDS = 0.1
"""How often SQLite is asked whether anybody has committed: 2 microseconds each time."""


def announce(tx: Transaction) -> None:
    """Let those that wait know, once the transaction is committed; on SQLite they see that by themselves."""
    connection = tx.session.connection()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")


@contextmanager
def changes(engine: sa.Engine) -> Iterator[Callable[[float], None]]:
    """
    Watch the ledger; whoever looks after this has begun misses nothing.

    Yields a function that returns when others have written since it was last called, or after so many seconds.

    Raises:
        LedgerError: If there is no connection, or it is lost meanwhile.
    """
    raw = None
    try:
        raw = engine.raw_connection()
        connection: Any = raw.driver_connection
        if engine.dialect.name == "postgresql":
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
            yield lambda seconds: _drain(connection, seconds)
        else:
            known = _version(connection)

            def wait(seconds: float) -> None:
                nonlocal known
                deadline = time.monotonic() + seconds
                while (now := _version(connection)) == known and (left := deadline - time.monotonic()) > 0:
                    time.sleep(min(POLL_SECONDS, left))
                known = now

            yield wait
    except engine.dialect.loaded_dbapi.Error as error:
        why = f"{str(error).strip()}\nwhat was asked or answered stays"
        raise LedgerError("the ledger can no longer be watched", why=why, hint="wait anew") from None
    finally:
        if raw is not None:
            raw.invalidate()  # not back into the pool: it listens


def _version(connection: Any) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _drain(connection: Any, seconds: float) -> None:
    for _ in connection.notifies(timeout=seconds, stop_after=1):
        pass
