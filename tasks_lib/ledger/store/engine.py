"""
The engine: SQLite for many processes, or PostgreSQL.

SQLite's driver is told to leave transactions alone; ours begin with BEGIN IMMEDIATE where they will write, so
that they wait for the lock (BUSY_SECONDS) at the only moment when waiting is possible: a transaction that has
read and then wants to write fails at once instead (https://sqlite.org/lang_transaction.html). Those that only
read begin with BEGIN, and under WAL wait for nobody.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tasks_lib.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

BUSY_SECONDS = 10
"""How long a writer waits for the others."""

POSTGRES_SCHEMA = "goldentree"
"""The schema of the tables on PostgreSQL: names such as `tasks` may be taken in the database's own."""

APPLICATION = {"application_name": "goldentree ledger", "connect_timeout": "10"}


def sqlite_engine(path: Path) -> sa.Engine:
    """
    Return the engine of the SQLite ledger in the file *path*, which is made where there is none.

    Others than its owner cannot read it: it may hold credentials. SQLite gives its `-wal` and `-shm` files the
    same permissions.

    Raises:
        LedgerError: If the file cannot be made.
    """
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # Else left alone: closing it would cancel the locks that this process' other connections have on it,
            # https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise LedgerError(
            f"`{path}` cannot be opened: {error.strerror}", hint="check its permissions and the free space there"
        ) from None
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), hide_parameters=True)
    # SQLite would go on in a file that nobody else sees, where writes are lost and waits never end, or make a new one.
    same = _only(path)
    sa.event.listen(engine, "do_connect", same)
    sa.event.listen(engine, "connect", _connected)
    sa.event.listen(engine, "begin", same)
    sa.event.listen(engine, "begin", _begin)
    return engine


def postgres_engine(parameters: Mapping[str, str]) -> sa.Engine:
    """
    Return the engine of the ledger on PostgreSQL.

    Args:
        parameters: What libpq connects with, by its keywords.
    """
    ours = f"-c lock_timeout={BUSY_SECONDS}s", f"-c search_path={POSTGRES_SCHEMA}"
    options = " ".join((parameters.get("options", ""), *ours)).strip()  # libpq takes the last word
    return sa.create_engine(
        "postgresql+psycopg://",
        connect_args={**APPLICATION, **parameters, "options": options},
        hide_parameters=True,  # they may be credentials
    )


def writing(engine: sa.Engine) -> sa.Engine:
    """Return *engine* for transactions that take the lock first."""
    return engine.execution_options(writes=True)


def reading(engine: sa.Engine) -> sa.Engine:
    """Return *engine* for transactions that cannot write, and see the ledger as it was at one moment."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _connected(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS}")  # first: the next ones may have to wait
    connection.execute("PRAGMA foreign_keys = ON")
    # File systems without shared memory have no WAL, and SQLite goes on without: readers and writers wait then.
    if _journal(connection) == "wal":
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may take the last commits, and nothing else


def _journal(connection: Any) -> str:
    """Write ahead if that is possible, and return how *connection* does write."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            # Of those that find a file not yet so, one changes it, and SQLite lets none of the others wait.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _only(path: Path) -> Callable[..., None]:
    """Return what refuses to go on once *path* is another file than now; it may be given anything."""

    def identity() -> tuple[int, int] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def require(*_: object) -> None:
        if identity() != opened:
            raise LedgerError(
                "the ledger is no longer the file that was opened",
                why=f"`{path}` was deleted, moved or replaced meanwhile",
                hint="run the command again",
            )

    opened = identity()
    return require


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    if connection.info.get("writes") is not writes:
        # Not each time: it makes SQLite prepare every statement anew, https://sqlite.org/pragma.html#pragma_query_only
        connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
        connection.info["writes"] = writes
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
