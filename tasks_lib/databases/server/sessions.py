"""
Wait until sessions have left a database.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tasks_lib import waits
from tasks_lib.databases.server.connection import TOOL, scalar
from tasks_lib.databases.server.waiting.sessions import read_sessions

if TYPE_CHECKING:
    from psycopg import Connection

READER = f"{TOOL} reader"
"""`application_name` of this tool's sessions that read golden for a few milliseconds."""

_READER_SECONDS = 0.5
"""How long to wait for them."""

_SESSION_SECONDS = 5.0
"""How long PostgreSQL itself waits for sessions to leave (CountOtherDBBackends, procarray.c)."""


def await_readers(connection: Connection[Any], name: str) -> None:
    """Wait until this tool's own sessions, which read golden for a few milliseconds, have left *name*."""
    deadline = time.monotonic() + _READER_SECONDS
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = %s"
    while scalar(connection, query, [name, READER]) and time.monotonic() < deadline:
        time.sleep(0.002)


def await_no_sessions(connection: Connection[Any], name: str) -> None:
    """
    Wait until no session is connected to *name*, at most five seconds; say for whom after one second.

    RENAME and TEMPLATE wait for sessions themselves, but in steps of 100 ms. After a client disconnects, its backend
    exits in about 1 ms.
    """
    began, said = time.monotonic(), False
    # PostgreSQL ends an autovacuum worker itself when another process needs the database.
    query = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type IS DISTINCT FROM 'autovacuum worker'"
    while (pids := connection.execute(query, [name]).fetchall()) and time.monotonic() - began < _SESSION_SECONDS:
        if not said and time.monotonic() - began > waits.QUIET_SECONDS:
            said = True
            for session in read_sessions(connection, [pid for (pid,) in pids]):
                waits.say(f"waiting for {session} to leave `{name}`\n{session.cure}")
        time.sleep(0.002)
