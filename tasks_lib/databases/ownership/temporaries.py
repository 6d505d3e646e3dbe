"""
Databases under construction: named, noted down before they are made, and swept when their maker died.

A CREATE DATABASE outlives its client by seconds, and between it and the comment a database says
nothing about whose it is. So the name, 64 random bits, is written down first, and the session that
makes the database holds its advisory lock: whoever finds a note whose lock is free may clear up.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership import comment
from tasks_lib.databases.ownership.advisory_lock import advisory_lock, advisory_unlock, try_advisory_lock
from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import GoldentreeError
from tasks_lib.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from psycopg import Connection

    from tasks_lib.databases.ownership.source import Source


@contextmanager
def temporary_database(source: Source, connection: Connection[Any]) -> Iterator[str]:
    """
    Give the name of a database that is to be made in the body, by *connection*, and renamed there.

    Whatever still bears it when the body fails is dropped; where that fails too, a later `sweep` does it.
    """
    name = comment.new_temporary_name()
    note = _folder(source) / name
    note.parent.mkdir(parents=True, exist_ok=True)
    server_id = _server_id(connection)
    # First the lock, then the note: another process clears away a note whose lock is free.
    advisory_lock(connection, name)
    atomic_write(note, server_id)  # a partial note would never be deleted
    try:
        yield name
    except BaseException:
        from psycopg import Error

        with suppress(GoldentreeError, Error), _usable(source, connection) as working:
            advisory_lock(working, name)
            _sweep(source, working, note)
            advisory_unlock(working, name)
        raise
    advisory_unlock(connection, name)
    note.unlink(missing_ok=True)


def drop_abandoned(source: Source, connection: Connection[Any]) -> list[str]:
    """
    Drop what killed processes of this repository left half-made; return the names.

    What another process is still at work on is passed over, and what a note says is on another server.

    Raises:
        OwnershipError: If a database of such a name bears a comment that is not ours.
    """
    return [note.name for note in sorted(_notes(source)) if _sweep(source, connection, note)]


def list_noted(source: Source, connection: Connection[Any]) -> list[str]:
    """Return the temporary names that are written down for the server of *connection*."""
    return [note.name for note in sorted(_notes(source)) if _is_of(note, connection)]


def _is_of(note: Path, connection: Connection[Any]) -> bool:
    with suppress(FileNotFoundError):  # another process swept it just now
        return note.read_text(encoding="ascii") == _server_id(connection)
    return False


def _sweep(source: Source, connection: Connection[Any], note: Path) -> bool:
    if not _is_of(note, connection) or not try_advisory_lock(connection, note.name):
        return False
    try:
        dropped = comment.drop_temporary(connection, note.name, repository=source.repository)
    finally:
        advisory_unlock(connection, note.name)
    note.unlink(missing_ok=True)
    return dropped


@contextmanager
def _usable(source: Source, connection: Connection[Any]) -> Iterator[Connection[Any]]:
    """Give *connection* itself if it survived what failed, else another one."""
    from psycopg import Error
    from psycopg.pq import TransactionStatus

    alive = False
    if connection.info.transaction_status == TransactionStatus.IDLE:
        with suppress(Error):  # it may have been ended without having heard of it
            alive = scalar(connection, "SELECT 1") == 1
    if alive:
        yield connection
    else:
        # What it holds is let go when it is gone.
        connection.close()
        with source.server.connect() as other:
            yield other


def _folder(source: Source) -> Path:
    return source.folder / "temporaries"


def _notes(source: Source) -> list[Path]:
    with suppress(FileNotFoundError):
        # What `atomic_write` has not renamed yet has a suffix.
        return [
            note for note in _folder(source).iterdir() if note.name.startswith(f"{comment.TOOL}_") and not note.suffix
        ]
    return []


def _server_id(connection: Connection[Any]) -> str:
    """Return what tells servers apart, whatever their addresses are; any role may read it."""
    return str(scalar(connection, "SELECT system_identifier FROM pg_control_system()"))
