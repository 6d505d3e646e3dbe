"""
Describe the sessions that we wait for: who they are, what they do, and how to end them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.server.connection import is_local
from tasks_lib.waits import is_stopped, only_printable

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from psycopg import Connection

_COMMAND = re.compile(r"\s*(\w+(?:\s+\w+)?)")
_OURS = re.compile(r"goldentree .*?(\d+)")


@dataclass(frozen=True)
class Session:
    """
    A session of the server. Empty where our role may not know it.

    Attributes:
        pid: The process id of its server process.
        ours: Whether it belongs to our role, so that we may end it.
        address: The client's address, empty for a Unix socket.
        state: As in `pg_stat_activity`, or what kind of server process it is.
        since: When the state began.
        working: Whether the server is running a statement for it now, and is not waiting for its client or for a lock.
        command: The first two words of its statement; never more, as statements may hold secrets.
        local: Whether the server runs on this machine.
    """

    pid: int
    role: str
    ours: bool
    address: str
    application: str
    state: str
    since: datetime | None
    working: bool
    command: str
    local: bool

    @property
    def is_stopped(self) -> bool:
        """Whether its server process is stopped, as far as this machine can tell."""
        return self.local and is_stopped(self.pid, "postgres")

    @property
    def client_pid(self) -> int | None:
        """The pid of the client on this machine if it is this tool and has stopped (Ctrl-Z, a debugger)."""
        match = _OURS.fullmatch(self.application)
        local = self.address in ("", "127.0.0.1", "::1")
        return int(match[1]) if self.ours and local and match and is_stopped(int(match[1])) else None

    def __str__(self) -> str:
        """Return what is known: `session 4711 (mallory from 10.0.0.5, psql, idle since 14:05:59, UPDATE t)`."""
        who = self.role + (f" from {self.address}" if self.address else "")
        state = self.state + (f" since {self.since.astimezone():%H:%M:%S}" if self.since else "")
        known = [who, self.application, state, self.command]
        if self.is_stopped:
            known.append("its server process is stopped")
        if self.client_pid:
            known.append(f"its client, process {self.client_pid}, is stopped")
        return f"session {self.pid} ({', '.join(filter(None, known))})"

    @property
    def cure(self) -> str:
        """How to end the wait; the last line is a command on its own."""
        if self.is_stopped:
            return f"to let its server process continue:\nkill -CONT {self.pid}"
        if self.client_pid:
            return f"to let its client continue:\nkill -CONT {self.client_pid}"
        end = f'psql -c "SELECT pg_terminate_backend({self.pid})"'
        if self.ours:
            return f"wait for it, then run the same command; to end it:\n{end}"
        return f"wait for it, or let the administrator of the server end it:\n{end}"


def read_sessions(connection: Connection[Any], pids: Collection[int]) -> list[Session]:
    """Return those of the sessions *pids* that still exist."""
    connection.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction shows what was at its first look
    rows = connection.execute(
        "SELECT pid, coalesce(usename::text, ''), usename IS NOT DISTINCT FROM session_user, "
        "coalesce(host(client_addr), ''), coalesce(application_name, ''), coalesce(state, backend_type, ''), "
        "coalesce(state_change, backend_start), state IS NOT DISTINCT FROM 'active' "
        "AND coalesce(wait_event_type, '') NOT IN ('Client', 'Lock'), left(query, 80) "
        "FROM pg_stat_activity WHERE pid = ANY(%s)",
        [list(pids)],
    ).fetchall()
    local = is_local(connection)
    found = []
    for pid, role, ours, address, application, state, since, working, query in rows:
        command = _COMMAND.match(query or "")
        found.append(
            Session(
                pid,
                only_printable(role),
                ours,
                address,
                only_printable(application),
                state,
                since,
                working,
                command[1] if command else "",
                local,
            )
        )
    return found
