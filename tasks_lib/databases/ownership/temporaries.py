"""
Create databases under temporary names, and drop those whose process died.

CREATE DATABASE continues on the server for seconds after its client has died, and until the comment is written nothing
on the server says who owns the new database. So the random name is first recorded in a file, and the session that
creates the database holds the name's advisory lock. Any process that finds a record whose lock is free may drop the
database.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership.advisory_lock import advisory_lock, advisory_unlock, try_advisory_lock
from tasks_lib.databases.ownership.drop import drop_temporary, new_temporary_name
from tasks_lib.databases.server.connection import TOOL, scalar
from tasks_lib.errors import GoldentreeError
from tasks_lib.files import atomic_write, make_state_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from psycopg import Connection

    from tasks_lib.databases.ownership.source import Source


@contextmanager
def temporary_database(source: Source, connection: Connection[Any]) -> Iterator[str]:
    """
    Reserve a temporary name. The `with` body creates the database on *connection* and renames it.

    If the body fails, the database is dropped; if that fails too, `drop_abandoned` drops it later.
    """
    name = new_temporary_name()
    record = _folder(source) / name
    make_state_folder(record.parent)
    server_id = _server_id(connection)
    # Lock first: another process deletes a record whose lock is free.
    advisory_lock(connection, source.signer, name, purpose=f"to build `{name}`")
    atomic_write(record, server_id)  # a partial record would never be deleted
    try:
        yield name
    except BaseException:
        from psycopg import Error

        with suppress(GoldentreeError, Error), _working_connection(source, connection) as working:
            advisory_lock(working, source.signer, name, purpose=f"to drop `{name}`")
            _drop_recorded(source, working, record)
            advisory_unlock(working, source.signer, name)
        raise
    advisory_unlock(connection, source.signer, name)
    record.unlink(missing_ok=True)


def drop_abandoned(source: Source, connection: Connection[Any]) -> list[str]:
    """
    Drop the unfinished databases of this repository's killed processes; return their names.

    Databases that another process is still building are skipped, and so are those recorded for another server.

    Raises:
        OwnershipError: If a database of such a name has a comment that is not ours.
    """
    return [record.name for record in sorted(_list_records(source)) if _drop_recorded(source, connection, record)]


def list_recorded(source: Source, connection: Connection[Any]) -> list[str]:
    """Return the temporary names that are recorded for the server of *connection*."""
    return [record.name for record in sorted(_list_records(source)) if _is_for_server(record, connection)]


def _is_for_server(record: Path, connection: Connection[Any]) -> bool:
    with suppress(FileNotFoundError):  # another process deleted it just now
        return record.read_text(encoding="ascii") == _server_id(connection)
    return False


def _drop_recorded(source: Source, connection: Connection[Any], record: Path) -> bool:
    if not _is_for_server(record, connection) or not try_advisory_lock(connection, source.signer, record.name):
        return False
    try:
        dropped = drop_temporary(connection, record.name, repository=source.repository)
    finally:
        advisory_unlock(connection, source.signer, record.name)
    record.unlink(missing_ok=True)
    return dropped


@contextmanager
def _working_connection(source: Source, connection: Connection[Any]) -> Iterator[Connection[Any]]:
    """Give *connection* if it still works after the failure, else a new one."""
    from psycopg import Error
    from psycopg.pq import TransactionStatus

    alive = False
    if connection.info.transaction_status == TransactionStatus.IDLE:
        with suppress(Error):  # the server may have ended it without the client knowing yet
            alive = scalar(connection, "SELECT 1") == 1
    if alive:
        yield connection
    else:
        # Closing it releases its locks.
        connection.close()
        with source.server.connect() as other:
            yield other


def _folder(source: Source) -> Path:
    return source.folder / "temporaries"


def _list_records(source: Source) -> list[Path]:
    with suppress(FileNotFoundError):
        # A file that `atomic_write` has not renamed yet has a suffix.
        return [path for path in _folder(source).iterdir() if path.name.startswith(f"{TOOL}_") and not path.suffix]
    return []


def _server_id(connection: Connection[Any]) -> str:
    """Return an id that differs between servers and does not depend on the address; any role may read it."""
    return str(scalar(connection, "SELECT system_identifier FROM pg_control_system()"))
