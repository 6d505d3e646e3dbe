"""
Wait until another process writes to the ledger, without polling tables or holding a transaction open.
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
"""PostgreSQL's NOTIFY channel for questions and answers."""

POLL_SECONDS = 0.1
"""How often SQLite is asked whether another connection has committed; this takes 2 microseconds."""


def announce(tx: Transaction) -> None:
    """Wake waiting processes when the transaction commits; on SQLite they notice commits themselves."""
    connection = tx.session.connection()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")


@contextmanager
def changes(engine: sa.Engine) -> Iterator[Callable[[float], None]]:
    """
    Watch the ledger: changes committed after this begins are not missed.

    Yields a function that takes a number of seconds, and returns after that time or as soon as another process has
    written since the last call.

    Raises:
        LedgerError: If the connection cannot be opened, or is lost.
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
        why = f"{str(error).strip()}\nquestions and answers are stored"
        raise LedgerError("the ledger can no longer be watched", why=why, hint="run the command again") from None
    finally:
        if raw is not None:
            raw.invalidate()  # a connection that listens must not return to the pool


def _version(connection: Any) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _drain(connection: Any, seconds: float) -> None:
    for _ in connection.notifies(timeout=seconds, stop_after=1):
        pass
