"""
Sessions that an application and its team hold open on golden, idle, while it is copied.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.servers import Target

SESSIONS = 3
"""That many are connected to a golden in use."""


class Sessions:
    """*count* idle sessions on *golden*."""

    def __init__(self, target: Target, golden: str, count: int) -> None:
        self._server = target.server
        self._conninfo = target.url.conninfo(dbname=golden)
        self._open = [self._connect() for _ in range(count)]

    def restore(self) -> int:
        """
        Replace the sessions that were ended; return their number.

        The others are left alone, not even asked: an idle session has not done anything for a while.
        """
        with self._server.connect() as connection:
            rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
            pids = {pid for (pid,) in rows}
        alive = [session for session in self._open if session.info.backend_pid in pids]
        ended = len(self._open) - len(alive)
        self._open = [*alive, *(self._connect() for _ in range(ended))]
        return ended

    def close(self) -> None:
        """Disconnect all."""
        for session in self._open:
            session.close()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._conninfo, autocommit=True)


@contextmanager
def connected(target: Target, golden: str, count: int) -> Iterator[Sessions]:
    """Hold *count* idle sessions open on *golden*."""
    sessions = Sessions(target, golden, count)
    try:
        yield sessions
    finally:
        sessions.close()
