"""
Copy a ledger into a file, and check the copy.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from shlex import quote
from typing import TYPE_CHECKING

from tasks_lib.errors import LedgerError
from tasks_lib.ledger.maintenance.health import require_sound
from tasks_lib.ledger.store import migrate
from tasks_lib.ledger.store.engine import POSTGRES_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.ledger.ledger import Ledger


def back_up(ledger: Ledger, target: Path, url: DatabaseUrl | None) -> int:
    """
    Copy a ledger into the new file *target*, which only its owner can read, while other processes keep writing.

    Args:
        url: The ledger's database on PostgreSQL, None on SQLite.

    Returns:
        The size of the file in bytes.

    Raises:
        LedgerError: If the file exists, cannot be written, or cannot be read back; no file is left then.
        ServerError: If no pg_dump matches the server's version.
    """
    with _new(target) as unfinished:
        if url is None:
            migrate.back_up(ledger.engine, unfinished)
            _read(unfinished)
        else:
            _dump(ledger, url, unfinished)
    return target.stat().st_size


@contextmanager
def _new(target: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that is renamed to *target* on success."""
    try:
        target.touch(0o600, exist_ok=False)  # reserve the name
    except FileExistsError:
        raise LedgerError(f"`{target}` exists already", hint="name a new file") from None
    except OSError as error:
        raise _unwritable(target, error) from None
    unfinished = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file)
        unfinished.replace(target)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(target, error) from None
        raise


def _read(file: Path) -> None:
    """Check a copy on SQLite completely."""
    # Immutable, so that SQLite creates no -wal file beside it.
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as copy:
        require_sound(copy.execute, file)
        if copy.execute("SELECT version_num FROM alembic_version").fetchone() != (migrate.REVISIONS[-1],):
            raise LedgerError(f"the copy `{file}` has another schema than the ledger")


def _dump(ledger: Ledger, url: DatabaseUrl, target: Path) -> None:
    """Dump the ledger's schema, and read the dump back completely."""
    from tasks_lib.databases.server import binaries
    from tasks_lib.databases.server.session_settings import format_options

    with ledger.engine.connect() as connection:
        version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    client = binaries.find_clients(version)
    # A service file would override these variables, and the URL's parameters include it already.
    inherited = {key: value for key, value in os.environ.items() if key != "PGSERVICE"}
    options = format_options(url.parameter("options"), version)
    environment = {**inherited, **url.environment(options=options), "LC_ALL": "C"}
    target.touch(0o600)
    for command in (
        ["pg_dump", "--no-password", "--format=custom", f"--schema={POSTGRES_SCHEMA}", f"--file={target}"],
        ["pg_restore", f"--file={os.devnull}", str(target)],
    ):
        program, *arguments = command
        done = subprocess.run(
            [client.program(program), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            why = done.stderr.strip() or f"{program} exited with {done.returncode}"
            raise LedgerError(f"the ledger cannot be copied to `{target}`", why=why)


def _unwritable(target: Path, error: OSError) -> LedgerError:
    cure = (
        f"mkdir -p {quote(str(target.parent))}"
        if isinstance(error, FileNotFoundError)
        else "check permissions and free space"
    )
    return LedgerError(f"`{target}` cannot be written: {error.strerror}", hint=cure)
