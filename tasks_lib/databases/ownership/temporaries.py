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
from tasks_lib.databases.ownership.comment import SERVER_ID
from tasks_lib.databases.ownership.drop import drop_temporary, new_temporary_name
from tasks_lib.databases.server.connection import TOOL, scalar
from tasks_lib.errors import GoldentreeError, OwnershipError
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
    made_for = f"{_server_id(connection)}\n{source.golden}"
    # Lock first: another process deletes a record whose lock is free.
    advisory_lock(connection, source.signer, name, purpose=f"to build `{name}`")
    atomic_write(record, made_for)  # a partial record would never be deleted
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

    Skipped are databases that another process is still building, those recorded for another server, and those that are
    not provably ours: the name is known to every role once the database has existed.
    """
    dropped = []
    for record in sorted(_list_records(source)):
        with suppress(OwnershipError):
            if _drop_recorded(source, connection, record):
                dropped.append(record.name)
    return dropped


def list_recorded(source: Source, connection: Connection[Any]) -> dict[str, str]:
    """Return the golden templates of the temporary names that are recorded for the server of *connection*, by name."""
    found = {record.name: _find_golden(record, connection) for record in sorted(_list_records(source))}
    return {name: golden for name, golden in found.items() if golden is not None}


def _find_golden(record: Path, connection: Connection[Any]) -> str | None:
    """Return the golden template of the database that *record* is about, None if it is recorded for another server."""
    with suppress(FileNotFoundError):  # another process deleted it just now
        # Records of earlier versions have only the first line.
        server, _, golden = record.read_text(encoding="utf-8").partition("\n")
        return golden if server == _server_id(connection) else None
    return None


def _drop_recorded(source: Source, connection: Connection[Any], record: Path) -> bool:
    golden = _find_golden(record, connection)
    if golden is None or not try_advisory_lock(connection, source.signer, record.name):
        return False
    try:
        dropped = drop_temporary(connection, record.name, signer=source.signer, golden=golden)
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
    return str(scalar(connection, "SELECT " + SERVER_ID))
