"""
Watch a tool that we run, and end each of its sessions on a database that it must not use.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.databases.server.background import repeat_in_background
from tasks_lib.databases.server.connection import MAINTENANCE, scalar, translate_error
from tasks_lib.databases.server.peers import Client, Route, Session, find_client

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import datetime

    from psycopg import Connection, Error

INTERVAL_SECONDS = 0.01
"""How often the server is asked for sessions, which takes 0.3 ms; a migration takes longer."""

_LOOKS = 3
"""How often a session whose client is not found is looked at."""

_LEAVE_SECONDS = 5.0
"""How long to wait for a session that was ended."""


@dataclass(frozen=True)
class Intrusion:
    """
    A session that a tool had on a database that it must not use.

    Attributes:
        ended: Whether its session was ended by us; its transaction was rolled back then.
    """

    database: str
    client: Client
    ended: bool


@dataclass
class Fence:
    """
    Guards databases against one tool.

    Attributes:
        connection: A connection to the maintenance database, for the fence alone.
        databases: The guarded databases.
        intrusions: What was found, without repetitions of the same process in the same database.
    """

    connection: Connection[Any]
    databases: Collection[str]
    intrusions: list[Intrusion] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Note the time and how the server is reached. Sessions that exist already are not the tool's."""
        self._began = scalar(self.connection, "SELECT clock_timestamp()")
        self._route = Route.of(self.connection)
        self._looks: dict[tuple[int, datetime], int] = {}
        if MAINTENANCE in self.databases and not _has_tables(self.connection):
            # A URL that names the server alone; tools use this database to create others.
            self.databases = set(self.databases) - {MAINTENANCE}

    @contextmanager
    def watch(self, leader: int, end: Callable[[], object]) -> Iterator[None]:
        """
        Watch the sessions of the processes that *leader* starts while the body runs, and once more after it.

        Args:
            leader: The pid of a process that is the leader of its session.
            end: Ends the tool, at once, so that it cannot connect again. Called from another thread.

        Raises:
            ServerError: After the body, if the server stopped answering: what the tool did is unknown.
        """
        import psycopg

        failures: list[Error] = []

        def poll() -> None:
            try:
                if not failures:
                    self._look(leader, end)
            except psycopg.Error as failure:
                failures.append(failure)

        with repeat_in_background(poll, seconds=INTERVAL_SECONDS):
            yield
        if failures:
            raise translate_error(failures[0], MAINTENANCE)
        self._look(leader, end)

    def _look(self, leader: int, end: Callable[[], object]) -> None:
        query = (
            "SELECT pid, backend_start, datname, host(client_addr), client_port FROM pg_stat_activity "
            "WHERE datname = ANY(%s) AND backend_start >= %s AND backend_type = 'client backend'"
        )
        for backend, started, *rest in self.connection.execute(query, [list(self.databases), self._began]).fetchall():
            looks = self._looks.get((backend, started), 0)
            if looks == _LOOKS:
                continue
            self._looks[backend, started] = looks + 1
            session = Session(backend, *rest)
            client = find_client(session, leader, self._route)
            if client is not None:
                self._end(session, started, client, end)

    def _end(self, session: Session, started: datetime, client: Client, end: Callable[[], object]) -> None:
        """End *session* and the tool, and wait until the session has left, so that its transaction was rolled back."""
        import psutil
        from psycopg import errors

        # In one statement, because the process id may belong to another session since then.
        query: LiteralString = "FROM pg_stat_activity WHERE pid = %s AND backend_start = %s AND datname = %s"
        arguments = [session.backend, started, session.database]
        ended = True
        try:
            self.connection.execute(f"SELECT pg_terminate_backend(pid) {query}", arguments)
        except errors.InsufficientPrivilege:
            ended = False
        end()
        with suppress(psutil.Error):
            client.process.kill()
        deadline = time.monotonic() + _LEAVE_SECONDS
        while scalar(self.connection, f"SELECT 1 {query}", arguments) and time.monotonic() < deadline:
            time.sleep(0.005)
        if (session.database, client) not in {(found.database, found.client) for found in self.intrusions}:
            self.intrusions.append(Intrusion(session.database, client, ended))


def _has_tables(connection: Connection[Any]) -> bool:
    query = (
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')"
    )
    return bool(scalar(connection, query))
