"""
The engine: SQLite shared by many processes, or PostgreSQL.

The SQLite driver's own transaction handling is off. Writing transactions begin with BEGIN IMMEDIATE, so that they wait
for the lock (BUSY_SECONDS) at the start: a transaction that has read and then writes would fail at once instead
(https://sqlite.org/lang_transaction.html). Reading transactions begin with BEGIN, and with WAL they never wait.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tasks_lib import waits
from tasks_lib.databases.server.session_settings import format_options
from tasks_lib.errors import LedgerError, find_cure
from tasks_lib.files import make_state_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BUSY_SECONDS = 10
"""How long a writer waits for the lock."""

_WAL_WRITE_LOCK, _RESERVED_LOCK = 120, 0x40000001
"""The byte of SQLite's write lock: in the `-shm` file (https://sqlite.org/walformat.html), and without WAL."""

POSTGRES_SCHEMA = "goldentree"
"""The schema of the tables on PostgreSQL, because names such as `tasks` may exist in `public`."""

APPLICATION = {"application_name": "goldentree ledger", "connect_timeout": "10"}


def sqlite_engine(path: Path) -> sa.Engine:
    """
    Return the engine of the SQLite ledger in the file *path*, which is created if it does not exist.

    Only its owner can read it, because it may contain credentials. SQLite gives its `-wal` and `-shm` files the same
    permissions.

    Raises:
        LedgerError: If the file cannot be created.
    """
    path = path.absolute()
    try:
        make_state_folder(path.parent)
        if not path.exists():
            # Never open an existing file here: closing it would cancel the locks of this process's connections,
            # https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        elif stat.S_IMODE(path.stat().st_mode) & ~stat.S_IRWXU:  # such as one restored by `cp` from a backup
            _make_private(path)
    except OSError as error:
        raise LedgerError(
            f"`{path}` cannot be opened: {error.strerror}",
            hint=find_cure(str(error), path.parent) or "check its permissions and the free space there",
        ) from None
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), hide_parameters=True)
    # Otherwise SQLite would keep using a deleted file, where writes are lost and waits never end, or create a new one.
    same = _only(path)
    sa.event.listen(engine, "do_connect", same)
    sa.event.listen(engine, "connect", _connected)
    sa.event.listen(engine, "begin", same)
    sa.event.listen(engine, "begin", begin)
    return engine


def _make_private(path: Path) -> None:
    for file in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
        with suppress(OSError):  # absent, or it belongs to another account, which decides for itself
            file.chmod(0o600)


def postgres_engine(parameters: Mapping[str, str]) -> sa.Engine:
    """
    Return the engine of the ledger on PostgreSQL.

    Args:
        parameters: The connection parameters of libpq.
    """
    # PostgreSQL's own schema comes first unless it is named, so PostgreSQL's functions win where several fit as well.
    options = format_options(parameters.get("options", ""), search_path=f"{POSTGRES_SCHEMA},pg_temp")
    options += f" -c lock_timeout={BUSY_SECONDS}s"  # the last value wins
    return sa.create_engine(
        "postgresql+psycopg://",
        connect_args={**APPLICATION, **parameters, "options": options},
        hide_parameters=True,  # they may contain credentials
    )


def writing(engine: sa.Engine) -> sa.Engine:
    """Return *engine* for transactions that take the write lock first."""
    return engine.execution_options(writes=True)


def reading(engine: sa.Engine) -> sa.Engine:
    """Return *engine* for read-only transactions on a consistent snapshot."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _connected(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS}")  # first, because the next statements may wait
    connection.execute("PRAGMA foreign_keys = ON")
    # On file systems without shared memory SQLite continues without WAL, and readers and writers wait for each other.
    if _journal(connection) == "wal":
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut can lose the last commits, nothing else


def _journal(connection: Any) -> str:
    """Turn on WAL if possible, and return the journal mode of *connection*."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            # One connection changes a new file, and SQLite fails the others at once instead of letting them wait.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _only(path: Path) -> Callable[..., None]:
    """Return an event handler that raises once *path* is another file than now."""

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
                why=f"`{path}` was deleted, moved or replaced since then",
                hint="run the command again",
            )

    opened = identity()
    return require


def begin(connection: sa.Connection) -> None:
    """Begin a transaction on SQLite, which waits for the lock first if it writes."""
    writes = connection.get_execution_options().get("writes", False)
    if connection.info.get("writes") is not writes:
        # Only on a change, because it makes SQLite prepare every statement again: https://sqlite.org/pragma.html#pragma_query_only
        connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
        connection.info["writes"] = writes
    if not writes:
        connection.exec_driver_sql("BEGIN")
        return
    with waits.explained(lambda: _name_writer(Path(str(connection.engine.url.database)))):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _name_writer(path: Path) -> str:
    """Say which process holds the write lock of the ledger in the file *path*."""
    pids = waits.read_locking_pids(path.with_name(f"{path.name}-shm"), "POSIX", _WAL_WRITE_LOCK)
    pids = pids or waits.read_locking_pids(path, "POSIX", _RESERVED_LOCK)
    others = [pid for pid in pids if pid not in (0, os.getpid())]
    holder = waits.Holder(others[0], waits.pid_namespace()) if others else waits.Holder()
    return f"waiting up to {BUSY_SECONDS} s for {holder}, which writes to the ledger `{path}`\n{holder.cure}"
