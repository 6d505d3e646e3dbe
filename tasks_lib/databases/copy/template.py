"""
Copy a database physically with `CREATE DATABASE ... TEMPLATE`.

The server waits five seconds for sessions to leave the original, and every login to it waits too (measured: 4.5 s). A
snapshot accepts no logins, so this does not matter. A copy of golden itself gets a time limit, so that a client that
connects at that moment does not wait for long.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership.golden_template import SMALL_BYTES, server_directory
from tasks_lib.databases.server.connection import scalar

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.golden_template import Golden

_SHARING = frozenset({"apfs", "bcachefs", "btrfs", "xfs"})
"""File systems that can share blocks. Not zfs: its block cloning has lost data (openzfs #15526, #15933)."""

_GUARD_MILLISECONDS = 700
_MILLISECONDS_PER_MB = 4
"""
The time limit of a copy of golden. Copies of 18 and 640 MB take about 100 and 1230 ms, and several times that on a busy
machine.
"""


def copy(
    connection: Connection[Any], golden: Golden, temporary: str, *, snapshot: str | None = None, oid: int = 0
) -> None:
    """
    Create the database *temporary* as a copy of *golden*, or of a *snapshot* of it.

    Args:
        oid: The snapshot's; another role may have created a database of its name after it was dropped.

    Raises:
        psycopg.errors.ObjectInUse: If a session is connected to golden.
        psycopg.errors.QueryCanceled: If the copy took so long that it may have held up a login.
        psycopg.errors.InvalidCatalogName: If the original does not exist.
    """
    from psycopg import errors, sql

    if snapshot is not None:
        connection.execute(statement(connection, golden, temporary, snapshot))
        if scalar(connection, "SELECT oid::int8 FROM pg_database WHERE datname = %s", [snapshot]) != oid:
            raise errors.InvalidCatalogName(f"the snapshot {snapshot} was replaced")
        return
    milliseconds = _GUARD_MILLISECONDS + golden.bytes * _MILLISECONDS_PER_MB // 1024**2
    connection.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(milliseconds)))
    try:
        connection.execute(statement(connection, golden, temporary, golden.name))
    finally:
        connection.execute("SET statement_timeout = 0")


def statement(connection: Connection[Any], golden: Golden, temporary: str, original: str) -> Any:
    """Return the CREATE DATABASE that copies *original*, which has golden's size; set up the session for it."""
    from psycopg import errors, sql

    version, strategy = connection.info.server_version, ""
    if version >= 150_000:
        strategy = "STRATEGY WAL_LOG" if golden.bytes <= SMALL_BYTES else "STRATEGY FILE_COPY"
    if version >= 180_000 and golden.bytes > SMALL_BYTES and _can_share_blocks(connection):
        # A server built for a system without this call does not know the value.
        with suppress(errors.InvalidParameterValue):
            connection.execute("SET file_copy_method = 'clone'")
    return sql.SQL("CREATE DATABASE {} TEMPLATE {} {} {}").format(
        sql.Identifier(temporary),
        sql.Identifier(original),
        # The owner decides who may connect. A role that is not a member of golden's owner can only own the copy itself.
        sql.SQL("OWNER {}").format(sql.Identifier(golden.owner)) if golden.ours else sql.SQL(""),
        sql.SQL(strategy),
    )


def _can_share_blocks(connection: Connection[Any]) -> bool:
    """
    Whether the server's file system is known to share blocks.

    Asking for it on another file system costs 150 ms more than a plain copy (measured on ext4).
    """
    directory = server_directory(connection)
    if directory is None:
        return False
    import psutil

    mounted = {Path(partition.mountpoint): partition.fstype for partition in psutil.disk_partitions(all=True)}
    return next((mounted[path] for path in [directory, *directory.parents] if path in mounted), "") in _SHARING
