"""
A connection that says why a statement takes long, and does not wait for ever.

psycopg waits for the server's answer without limit: behind another session's lock, behind a server process that is
stopped or ignores the others, and behind a network that is gone. One thread of this process looks at all connections.
Where a statement takes longer than a second, a second session asks the server why. A statement that makes no progress
is cancelled in the end; a long copy is not, because nothing holds it up.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import waiting

from tasks_lib import waits
from tasks_lib.databases.server.connection import is_local
from tasks_lib.databases.server.waiting.sessions import read_sessions
from tasks_lib.errors import DatabaseError, GoldentreeError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.abc import PQGen

LIMIT_SECONDS = 60.0
"""How long to wait for what shows no progress: an idle session's lock, a server process that does not answer."""

WORKING_SECONDS = 600.0
"""How long to wait for the lock of a session that is running a statement."""

STOPPED_SECONDS = 10.0
"""How long to wait for a process that is stopped, and for sessions to leave a database, which the server limits too."""

GIVE_UP_SECONDS = 2.0
"""How long a cancelled statement may take to end before the connection is cut, for example after Ctrl-C."""

_PAUSE_SECONDS = 0.1
_ASK_SECONDS = 1.0
_LOGIN_SECONDS = 5


class WatchedConnection(psycopg.Connection[Any]):
    """
    A connection whose waits are explained on stderr and limited.

    Attributes:
        ask: Returns the connection string for a session that asks why; set by `watch`.
        begun: When the running statement began to wait, by `time.monotonic`; None while none runs.
    """

    ask: Callable[[], str]
    begun: float | None = None
    _reason: GoldentreeError | None = None
    _verdict: GoldentreeError | None = None

    def wait(self, gen: PQGen[Any], interval: float = _PAUSE_SECONDS, timeout: float | None = None) -> Any:
        """
        Wait for the server's answer, as psycopg does.

        Raises:
            DatabaseError, ServerError: If something holds the statement up for too long.
            psycopg.Error: As psycopg; its cause is an error that says what held the statement up, if anything did.
        """
        self.begun, self._reason = time.monotonic(), None
        limit = {} if timeout is None else {"timeout": timeout}  # which psycopg 3.2 does not have
        try:
            return waiting.wait(gen, self.pgconn.socket, interval=interval, **limit)
        except KeyboardInterrupt:
            self._give_up()
            with suppress(psycopg.Error):
                waiting.wait(gen, self.pgconn.socket, interval=interval)
            raise
        except psycopg.OperationalError as error:
            if self._verdict is not None:
                raise self._verdict from None
            raise error from self._reason
        finally:
            self.begun, self._verdict = None, None

    def explain(self, reason: GoldentreeError) -> None:
        """Note what holds the running statement up."""
        self._reason = reason

    def end_statement(self, verdict: GoldentreeError) -> None:
        """Cancel the running statement, which then raises *verdict*."""
        self._verdict = verdict
        self._give_up()

    def _give_up(self) -> None:
        """Cancel the running statement; cut the connection if that does not end it soon."""
        begun = self.begun

        def cancel() -> None:
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=GIVE_UP_SECONDS)

        def cut() -> None:
            if self.begun == begun:
                with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self.fileno())) as shared:
                    shared.shutdown(socket.SHUT_RDWR)

        # In threads, because with an old libpq nothing interrupts a cancellation that a stopped server does not answer.
        for thread in (threading.Thread(target=cancel), threading.Timer(GIVE_UP_SECONDS, cut)):
            thread.daemon = True
            thread.start()


@dataclass(frozen=True)
class _Cause:
    """Why a statement takes long: *text* says it, and *verdict* is raised if that lasts for *limit* seconds."""

    text: str
    limit: float
    verdict: GoldentreeError


_lock = threading.Lock()
_watched: set[WatchedConnection] = set()
_watcher: threading.Thread | None = None


@contextmanager
def watch(connection: WatchedConnection, ask: Callable[[], str]) -> Iterator[None]:
    """Explain and limit the waits of *connection* during the body; *ask* returns how to connect and ask for whom."""
    global _watcher  # noqa: PLW0603 - one thread for the whole process
    connection.ask = ask
    with _lock:
        _watched.add(connection)
        if _watcher is None or not _watcher.is_alive():
            _watcher = threading.Thread(target=_watch_all, daemon=True)
            with suppress(RuntimeError):  # no more threads: an undo must work, if need be without a limit
                _watcher.start()
    try:
        yield
    finally:
        with _lock:
            _watched.discard(connection)


def _watch_all() -> None:
    explaining: dict[WatchedConnection, float] = {}
    while True:
        time.sleep(_PAUSE_SECONDS)
        with _lock:
            connections = tuple(_watched)
        explaining = {connection: begun for connection, begun in explaining.items() if connection in connections}
        for connection in connections:
            begun = connection.begun
            slow = begun is not None and time.monotonic() - begun > waits.QUIET_SECONDS
            if slow and begun is not None and explaining.get(connection) != begun:
                explaining[connection] = begun
                threading.Thread(target=_explain, args=[connection, begun], daemon=True).start()


def _explain(connection: WatchedConnection, begun: float) -> None:
    """Say why the statement that began to wait at *begun* takes long, until it ends; end it if that takes too long."""
    seen, since = "", time.monotonic()
    while connection.begun == begun:
        try:
            with psycopg.connect(connection.ask(), connect_timeout=_LOGIN_SECONDS, autocommit=True) as other:
                while connection.begun == begun:
                    cause = _find_cause(other, connection)
                    seen, since = _act(connection, begun, cause, seen, since)
                    time.sleep(_ASK_SECONDS)
        except psycopg.errors.ConnectionTimeout:
            verdict = ServerError(
                "the server does not answer any more", hint="see whether it runs, then run the same command"
            )
            cause = _Cause("the server, which accepts no new session", LIMIT_SECONDS, verdict)
            seen, since = _act(connection, begun, cause, seen, since)
        except psycopg.Error:
            time.sleep(_ASK_SECONDS)  # it refuses another session, so it is there


def _act(
    connection: WatchedConnection, begun: float, cause: _Cause | None, seen: str, since: float
) -> tuple[str, float]:
    """Say *cause* if it is new, and end the statement if it lasts too long; return what was said, and when."""
    if cause is None or connection.begun != begun:
        return seen, since
    if cause.text != seen:
        seen, since = cause.text, time.monotonic()
        connection.explain(cause.verdict)
        waits.say(f"waiting up to {cause.limit:g} s for {cause.text}\n{cause.verdict.hint}")
    elif time.monotonic() - since > cause.limit:
        connection.end_statement(cause.verdict)
    return seen, since


def _find_cause(other: psycopg.Connection[Any], connection: WatchedConnection) -> _Cause | None:
    """Return why the running statement of *connection* takes long, None if the server is just running it."""
    pid = connection.info.backend_pid
    row = other.execute(
        "SELECT a.wait_event, pg_blocking_pids(a.pid), array(SELECT s.pid FROM pg_locks l "
        "JOIN pg_stat_activity s ON s.datid = l.objid AND s.pid <> a.pid WHERE l.pid = a.pid AND l.granted "
        "AND l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND a.query ~* '^(drop|alter) database') "
        "FROM pg_stat_activity a WHERE a.pid = %s",
        [pid],
    ).fetchone()
    if row is None:
        return None
    event, blocking, inside = row
    if blocking:
        return _name_lock_holder(other, blocking)
    local = is_local(connection)
    if event == "ProcSignalBarrier":
        return _name_unanswering(other, local=local)
    if sessions := read_sessions(other, inside):
        what = f"{sessions[0]} does not leave its database"
        return _Cause(f"a session: {what}", STOPPED_SECONDS, DatabaseError(what, hint=sessions[0].cure))
    if local and waits.is_stopped(pid, "postgres"):
        what = f"process {pid} of the server is stopped"
        return _Cause(f"the server: {what}", STOPPED_SECONDS, ServerError(what, hint=_continue(pid)))
    return None


def _name_lock_holder(other: psycopg.Connection[Any], pids: list[int]) -> _Cause | None:
    if 0 in pids:  # pg_blocking_pids' number for those
        what, cure = "a prepared transaction holds a lock", 'psql -c "TABLE pg_prepared_xacts"'
        return _Cause(f"a lock: {what}", LIMIT_SECONDS, DatabaseError(what, hint=cure))
    for holder in read_sessions(other, pids):
        limit = WORKING_SECONDS if holder.working else LIMIT_SECONDS
        limit = STOPPED_SECONDS if holder.is_stopped or holder.client_pid else limit
        what = f"{holder} holds it"
        return _Cause(f"a lock: {what}", limit, DatabaseError(f"a lock was not released: {what}", hint=holder.cure))
    return None


def _name_unanswering(other: psycopg.Connection[Any], *, local: bool) -> _Cause:
    """Name the server process that does not confirm that it has closed the files of a database, if it can be told."""
    rows = other.execute("SELECT pid, coalesce(backend_type, '') FROM pg_stat_activity ORDER BY pid").fetchall()
    for pid, kind in rows:
        if local and waits.is_stopped(pid, "postgres"):
            what = f"process {pid} of the server ({waits.only_printable(kind)}) is stopped"
            return _Cause(f"the server: {what}", STOPPED_SECONDS, ServerError(what, hint=_continue(pid)))
    what = "a process of the server does not close the files of a database"
    hint = "the server's log names its pid (still waiting for backend with PID ...); then run the same command"
    return _Cause(f"the server: {what}", LIMIT_SECONDS, ServerError(what, hint=hint))


def _continue(pid: int) -> str:
    return f"to let it continue:\nkill -CONT {pid}"
