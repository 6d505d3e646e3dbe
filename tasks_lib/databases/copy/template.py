"""
Physical copies by `CREATE DATABASE ... TEMPLATE`.

The server waits five seconds for sessions to leave the original, and holds up every login to it
meanwhile (measured: 4.5 s). A snapshot has no sessions and nobody logs in to it. Of a golden
template that nobody uses, the attempt is cut short: whoever connects in between keeps the database
to themselves.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership.golden_template import SMALL_BYTES, server_directory

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.golden_template import Golden


_SHARING = frozenset({"apfs", "bcachefs", "btrfs", "xfs"})
"""Not zfs: its block cloning has lost data (openzfs #15526, #15933)."""

_GUARD_MILLISECONDS = 700
_MILLISECONDS_PER_MB = 4
"""How long an attempt may take before it counts as held up; copies of 18 and 640 MB take about 100 and 1230 ms,
and several times that on a busy machine."""


def copy(connection: Connection[Any], golden: Golden, temporary: str, *, snapshot: str | None = None) -> None:
    """
    Create the database *temporary* as a copy of *golden*, or of the *snapshot* that was made from it.

    Raises:
        psycopg.errors.ObjectInUse: If somebody is connected to golden.
        psycopg.errors.QueryCanceled: If the attempt took so long that it may have held up a login.
        psycopg.errors.InvalidCatalogName: If the original is gone.
    """
    if snapshot is not None:
        connection.execute(statement(connection, golden, temporary, snapshot))
        return
    from psycopg import sql

    milliseconds = _GUARD_MILLISECONDS + golden.bytes * _MILLISECONDS_PER_MB // 1024**2
    connection.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(milliseconds)))
    try:
        connection.execute(statement(connection, golden, temporary, golden.name))
    finally:
        connection.execute("SET statement_timeout = 0")


def statement(connection: Connection[Any], golden: Golden, temporary: str, original: str) -> Any:
    """Return the CREATE DATABASE that copies *original*, as large as *golden*, and prepare the session for it."""
    from psycopg import errors, sql

    version, strategy = connection.info.server_version, ""
    if version >= 150_000:
        strategy = "STRATEGY WAL_LOG" if golden.bytes <= SMALL_BYTES else "STRATEGY FILE_COPY"
    if version >= 180_000 and golden.bytes > SMALL_BYTES and _can_share_blocks(connection):
        # A build for a system without such a call does not know the value.
        with suppress(errors.InvalidParameterValue):
            connection.execute("SET file_copy_method = 'clone'")
    return sql.SQL("CREATE DATABASE {} TEMPLATE {} {} {}").format(
        sql.Identifier(temporary),
        sql.Identifier(original),
        # As whose it is made decides who may open it; a role that is not golden's owner can only make its own.
        sql.SQL("OWNER {}").format(sql.Identifier(golden.owner)) if golden.ours else sql.SQL(""),
        sql.SQL(strategy),
    )


def _can_share_blocks(connection: Connection[Any]) -> bool:
    """
    Whether the server's file system can, as far as that can be told.

    Where it cannot, asking for it costs 150 ms more than a plain copy (measured on ext4).
    """
    directory = server_directory(connection)
    if directory is None:
        return False
    import psutil

    mounted = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    return next((mounted[path] for path in [directory, *directory.parents] if path in mounted), "") in _SHARING
