"""
Connect to a server, and translate PostgreSQL's errors into this tool's.
"""

from __future__ import annotations

import ipaddress
import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib import waits
from tasks_lib.databases.server.session_settings import SEARCH_PATH, format_options, newer_settings
from tasks_lib.errors import DatabaseError, GoldentreeError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection, Error

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.databases.server.waiting.connection import WatchedConnection

CONNECT_TIMEOUT = "6"
"""Seconds to wait for a server that does not answer, unless the URL sets it."""

SILENCE_SECONDS = 10.0
"""How long a server that did not answer in time is not asked again."""

_KEEPALIVES = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""Notice within a minute that the network or the other side is gone; the systems' default is two hours."""

TOOL = "goldentree"
"""The name of this tool in sessions, comments and names of databases."""

MAINTENANCE = "postgres"
"""The database from which others are created, renamed and dropped, and whose advisory locks are used."""

START_SECONDS = 30.0
"""How long to wait for a server that is starting, shutting down or recovering from a crash."""

_STARTING = "FATAL:  the database system is "
_POLL_SECONDS = 0.1

_versions: dict[DatabaseUrl, int] = {}
"""The versions of the servers that this process has connected to, for the settings of the next session."""


@dataclass(frozen=True)
class Server:
    """
    The PostgreSQL server that *url* names; every connection of this package is made here.

    Attributes:
        read_only: Whether sessions may only read, those of child processes included.
    """

    url: DatabaseUrl
    read_only: bool = False

    @contextmanager
    def connect(self, database: str = MAINTENANCE, *, keep_search_path: bool = False) -> Iterator[Connection[Any]]:
        """
        Connect to *database* in autocommit mode, with the settings of `session_settings`.

        Args:
            keep_search_path: Give the session the search path of the user's programs. It may lead to functions and
                operators of other roles: run nothing but COPY of a table, or read the path.

        Raises:
            ServerError: If the server cannot be reached or rejects the login.
            DatabaseError: If the database does not exist.
        """
        psycopg = require_psycopg()
        from tasks_lib.databases.server.waiting.connection import watch

        # The name of our sessions says to others who wait for them which process they must look at.
        name = f"{TOOL} {waits.current_task()} {os.getpid()}"
        defaults = {"connect_timeout": CONNECT_TIMEOUT, "application_name": name, **_KEEPALIVES}
        overrides = {key: value for key, value in defaults.items() if key not in self.url.parameters}
        known = _versions.get(self.url, 0)
        # Without this, psycopg returns bytes for a database in SQL_ASCII.
        overrides |= {"client_encoding": "UTF8", "dbname": database}
        overrides["options"] = self._options(known, keep_search_path=keep_search_path)
        asking = {**overrides, "dbname": MAINTENANCE, "options": self._options(known)}
        connection = _log_in(self.url, database, self.url.conninfo(**overrides))
        try:
            with watch(connection, lambda: self.url.conninfo(**asking)):
                if known != connection.info.server_version:
                    _versions[self.url] = connection.info.server_version
                    if statements := newer_settings(connection.info.server_version):
                        connection.execute(statements.encode())
                yield connection
        except psycopg.Error as error:
            if error.sqlstate is None and not isinstance(error, psycopg.OperationalError):
                raise  # psycopg's own error is a bug of ours
            raise translate_error(error, database) from error
        finally:
            connection.close()

    def environment(self, database: str, version: int) -> dict[str, str]:
        """
        Return libpq's environment variables for a client program that we run on *database* for ourselves.

        Args:
            version: The server's version.
        """
        timeout = self.url.parameter("connect_timeout") or CONNECT_TIMEOUT
        return self.url.environment(dbname=database, options=self._options(version), connect_timeout=timeout)

    def _options(self, version: int, *, keep_search_path: bool = False) -> str:
        own = self.url.parameter("options")
        search_path = "" if keep_search_path else SEARCH_PATH
        return format_options(own, version, read_only=self.read_only, search_path=search_path)

    @contextmanager
    def connect_for_ddl(self) -> Iterator[Connection[Any]]:
        """
        Connect to the maintenance database, to create, rename or drop databases.

        Raises:
            ServerError: If the server cannot be reached or rejects the login.
        """
        with self.connect() as connection:
            # A rename must survive a crash, because the record of the temporary name is deleted after it.
            # The server notices within a minute that the client is gone, and releases its locks.
            settings: LiteralString = (
                "SET synchronous_commit = on; SET tcp_keepalives_idle = 30; "
                "SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 60000"
            )
            if connection.info.server_version >= 140_000:
                # Without this, the server continues CREATE DATABASE for seconds after the client was killed.
                settings += "; SET client_connection_check_interval = '500ms'"
            connection.execute(settings)
            yield connection

    def require_direct(self, connection: Connection[Any]) -> None:
        """
        Refuse a connection pooler that the URL does not reveal.

        A pooler answers the login itself, so the backend's own process id differs from the one in the start-up packet
        (PgBouncer documents its invented cancel keys; measured with 1.18).

        Raises:
            ServerError: If the connection goes through a pooler.
        """
        if scalar(connection, "SELECT pg_backend_pid()") != connection.info.backend_pid:
            raise _pooler(self.url)


_silent: dict[tuple[str | None, str | None], tuple[float, Error]] = {}
"""The servers, by host and port, that did not answer in time: when, and the error."""


def _log_in(url: DatabaseUrl, database: str, conninfo: str) -> WatchedConnection:
    """
    Return a new connection; a server that has just not answered is not asked again, so a command waits once.

    Raises:
        ServerError, DatabaseError: As `Server.connect`.
    """
    import psycopg

    from tasks_lib.databases.server.waiting.connection import WatchedConnection

    place = url.parameters.get("host"), url.parameters.get("port")
    since, silence = _silent.get(place, (0.0, None))
    if silence is not None and time.monotonic() - since < SILENCE_SECONDS:
        raise _refusal(silence, url, database)
    began, said = time.monotonic(), False
    while True:
        try:
            with waits.explained(lambda: f"waiting for the server at {url}, which does not answer"):
                connection = WatchedConnection.connect(conninfo, autocommit=True)
        except psycopg.errors.ConnectionTimeout as error:
            _silent[place] = time.monotonic(), error
            raise _refusal(error, url, database) from None
        except psycopg.OperationalError as error:
            waited = time.monotonic() - began
            if not _is_starting(error, conninfo):
                _versions.pop(url, None)  # it may have been replaced by one of another version
                raise _refusal(error, url, database) from None
            if waited > START_SECONDS:
                raise _not_ready(error, url) from None
            if waited > waits.QUIET_SECONDS and not said:
                reason = str(error).rpartition("FATAL:")[2].strip()
                waits.say(f"waiting up to {START_SECONDS:g} s for the server at {url}: {reason}")
                said = True
            time.sleep(_POLL_SECONDS)
        else:
            _silent.pop(place, None)
            return connection


def _is_starting(error: Error, conninfo: str) -> bool:
    """Whether the server is starting, shutting down or recovering (57P03)."""
    from psycopg import pq
    from psycopg.conninfo import make_conninfo

    # libpq hides the SQLSTATE of a refused login, and the server's words may be in any language. No other thread of
    # this process runs during the ping.
    asking = make_conninfo(conninfo, connect_timeout=2).encode()
    return _STARTING in str(error) or pq.PGconn.ping(asking) == pq.Ping.REJECT


def scalar(connection: Connection[Any], query: LiteralString, parameters: Any = None) -> Any:
    """Return the first column of the first row, None without a row."""
    row = connection.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def is_local(connection: Connection[Any]) -> bool:
    """Whether the server's address is this machine's, or a socket."""
    return ipaddress.ip_address(connection.info.hostaddr or "127.0.0.1").is_loopback


def select_all(connection: Connection[Any], selects: list[str]) -> list[tuple[Any, ...]]:
    """Return the rows of all *selects* in any order, run as few statements."""
    # Each SELECT of a UNION is nested in the previous one: 20 000 exceed the server's stack.
    batches = (" UNION ALL ".join(selects[start : start + 1000]) for start in range(0, len(selects), 1000))
    return [row for batch in batches for row in connection.execute(batch.encode())]


def require_psycopg() -> Any:
    """
    Import psycopg.

    Raises:
        ServerError: If psycopg finds no libpq.
    """
    try:
        import psycopg
    except ImportError as error:
        raise ServerError(
            "psycopg found no libpq", why=str(error), hint='python3 -m pip install "psycopg[binary]"'
        ) from None
    return psycopg


def translate_error(error: Error, database: str) -> GoldentreeError:
    """Return the error to raise for PostgreSQL's *error* on a connection to *database*."""
    translated = _translate(error, database)
    if isinstance(error.__cause__, GoldentreeError):  # what held the statement up, see `WatchedConnection`
        translated.hint = error.__cause__.hint
        translated.add(why=error.__cause__.what)
    return translated


def _translate(error: Error, database: str) -> GoldentreeError:
    state = error.sqlstate or ""
    why = "\n".join(filter(None, [error.diag.message_primary or str(error).strip(), error.diag.message_detail]))
    if state == "53100":
        return DatabaseError("the server's disk is full", why=why, hint="free space on it, then run the same command")
    if state == "42501" and "row-level security" in why:
        return DatabaseError(
            f"row-level security hides rows in `{database}` from our role",
            why=f"{why}\na copy without those rows would be wrong",
            hint="log in as a role with BYPASSRLS, or as a superuser",
        )
    if state == "42501":
        hint = "log in as the owner or a superuser, or ask one to grant it; then run the same command"
        return DatabaseError(f"no permission in `{database}`", why=why, hint=hint)
    if state == "55P03":
        return DatabaseError(
            f"a lock in `{database}` was not released in time",
            why=why,
            hint="a migration may be running there; wait for it, then run the same command",
        )
    if not state or state.startswith(("08", "57P")):
        hint = "see whether the server still runs, then run the same command"
        return ServerError("the connection to the server was lost", why=why, hint=hint)
    hint = error.diag.message_hint or ""
    return DatabaseError(f"PostgreSQL refused in `{database}` ({state})", why=why, hint=hint)


def _pooler(url: DatabaseUrl) -> ServerError:
    return ServerError(
        f"{url} goes through a connection pooler",
        why="a pooler can neither create databases nor hold locks",
        hint=f"set {url.source} to the direct URL of the server",
    )


def _not_ready(error: Error, url: DatabaseUrl) -> ServerError:
    return ServerError(
        f"the server at {url} is starting, shutting down or recovering",
        why=f"{str(error).strip()}\nthat has not changed for {START_SECONDS:.0f} s",
        hint="wait until it is done (its log says how far it is), then run the same command",
    )


def _refusal(error: Error, url: DatabaseUrl, database: str) -> GoldentreeError:
    """Return the error to raise for a failed login; libpq's connection errors have no SQLSTATE, only text."""
    message = str(error).strip()
    from tasks_lib.databases.server.url import EMBEDDED

    if "unsupported startup parameter" in message:
        return _pooler(url)
    if f'database "{database}" does not exist' in message:
        return DatabaseError(f"database `{database}` does not exist on {url}")
    if re.search(r'authentication failed|no password supplied|no pg_hba.conf entry|role ".*" does not exist', message):
        return ServerError(
            f"the server rejects the login of {url}", why=message, hint=f"correct the user or password in {url.source}"
        )
    limited = re.search(r'too many connections for (role|database) "(.*)"', message)
    if limited or "too many clients" in message or "remaining connection slots" in message:
        what, cure = f"the server at {url} accepts no more connections", "raise max_connections"
        if limited:
            what = f"{limited[1]} `{limited[2]}` has reached its connection limit"
            cure = f'let a superuser raise it:\nALTER {limited[1].upper()} "{limited[2]}" CONNECTION LIMIT -1;'
        return ServerError(what, why=message, hint=f"stop a dev server, or {cure}")
    port = url.parameter("port").partition(",")[0] or "5432"
    if "timeout expired" in message and (pid := waits.find_stopped_listener(int(port))):
        why, cure = f"process {pid}, which listens there, is stopped", f"let it continue:\nkill -CONT {pid}"
        return ServerError(f"the server at {url} does not answer", why=why, hint=cure)
    return ServerError(
        f"no PostgreSQL server answers at {url}",
        why=message,
        hint="inv server.start"
        if url.source == EMBEDDED
        else f"start it, or correct {url.source}"
        + ("; without DATABASE_URL the embedded server is used" if url.source == "DATABASE_URL" else ""),
    )
