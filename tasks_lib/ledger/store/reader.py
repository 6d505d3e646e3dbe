"""
Open a ledger for a command that only looks: nothing is created, migrated or written.

SQLite reads a database in WAL mode only if it can write beside it (https://sqlite.org/wal.html#readonly). Where it
cannot, and where the ledger does not exist or is of an earlier version, a copy in memory is read, which holds what
was committed when the command began.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from tasks_lib.errors import LedgerError
from tasks_lib.ledger.store.engine import begin, sqlite_engine
from tasks_lib.ledger.store.migrate import is_current

_ATTEMPTS = 5
_WAL_MODE = slice(18, 20)
"""Where a database file says that it is in WAL mode (https://sqlite.org/fileformat2.html); memory has no such mode."""


def sqlite_reader(path: Path) -> sa.Engine:
    """
    Return an engine that reads the SQLite ledger in the file *path*.

    Raises:
        LedgerError: If the file cannot be read, or is being written all the time where only a copy can be read.
    """
    path = path.absolute()
    if not path.exists():
        return _memory_engine(path, sqlite3.connect(":memory:", check_same_thread=False))
    if not all(os.access(place, os.W_OK) for place in (path, path.parent)):
        return _memory_engine(path, _copy_files(path))
    engine = sqlite_engine(path)
    try:
        with engine.connect() as connection:
            if is_current(connection):
                return engine
            raw: Any = connection.connection.driver_connection
            copy = sqlite3.connect(":memory:", check_same_thread=False)
            raw.backup(copy)
    except BaseException:
        engine.dispose()
        raise
    engine.dispose()
    return _memory_engine(path, copy)


def _memory_engine(path: Path, copy: sqlite3.Connection) -> sa.Engine:
    """Return an engine on *copy*, which is in memory, under the name of the ledger in *path*."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        hide_parameters=True,
        poolclass=StaticPool,
        creator=lambda: copy,
    )
    copy.isolation_level = None
    copy.execute("PRAGMA foreign_keys = ON")
    sa.event.listen(engine, "begin", begin)
    return engine


def _copy_files(path: Path) -> sqlite3.Connection:
    """
    Return a copy in memory of the ledger in *path*, with the commits that are still in its write-ahead log.

    Raises:
        LedgerError: If a file cannot be read, or changes each time.
    """
    log = path.with_name(f"{path.name}-wal")
    try:
        for _ in range(_ATTEMPTS):
            first, second = (_read(path), _read(log)), (_read(path), _read(log))
            if first == second:
                return _load(*first)
    except OSError as error:
        raise LedgerError(f"`{error.filename}` cannot be read: {error.strerror}", hint=f"ls -l {path}*") from None
    raise LedgerError(
        f"`{path}` cannot be read while other processes write to it",
        why="this account may not write beside it, so SQLite cannot tell the other processes that it reads",
        hint="wait for them, then run the same command",
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _load(data: bytes, log: bytes) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    if log:
        # Only SQLite can read its log, and only from files.
        with tempfile.TemporaryDirectory(prefix="goldentree-") as folder:
            file = Path(folder, "ledger.db")
            file.write_bytes(data)
            file.with_name("ledger.db-wal").write_bytes(log)
            with closing(sqlite3.connect(file)) as copy:
                copy.backup(memory)
    elif data:
        content = bytearray(data)
        content[_WAL_MODE] = b"\1\1"
        memory.deserialize(bytes(content))
    return memory
