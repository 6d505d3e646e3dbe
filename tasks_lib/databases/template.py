"""
Method `template`: a physical copy by `CREATE DATABASE ... TEMPLATE`, of a golden that nobody uses.

The server waits five seconds for sessions to leave and holds up every login to golden meanwhile
(measured: 4.5 s). So sessions are looked up first, and the attempt is cut short: whoever connects
in between keeps the database to themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.golden import Golden

SMALL_BYTES = 48 * 1024**2
"""Up to here the copy goes through the write-ahead log; it is faster there, and safe: a full disk during a
logged copy stops the whole server, so a large one is copied file by file (measured on 15 and 18)."""

_GUARD_MILLISECONDS = 700
_MILLISECONDS_PER_MB = 4
"""How long an attempt may take before it counts as held up; copies of 18 and 640 MB take about 100 and 1230 ms,
and several times that on a busy machine."""


def copy(connection: Connection[Any], golden: Golden, temporary: str) -> None:
    """
    Create the database *temporary* as a copy of *golden*.

    Raises:
        psycopg.errors.ObjectInUse: If somebody is connected to golden.
        psycopg.errors.QueryCanceled: If the attempt took so long that it may have held up a login.
    """
    from psycopg import sql  # noqa: PLC0415 - only where a database is copied

    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} {}").format(
        sql.Identifier(temporary),
        sql.Identifier(golden.name),
        sql.Identifier(golden.owner),
        sql.SQL(_strategy(golden.bytes, connection.info.server_version)),
    )
    milliseconds = _GUARD_MILLISECONDS + golden.bytes * _MILLISECONDS_PER_MB // 1024**2
    connection.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(milliseconds)))
    try:
        connection.execute(statement)
    finally:
        connection.execute("RESET statement_timeout")


def _strategy(size: int, server_version: int) -> Any:
    if server_version < 150_000:
        return ""
    return "STRATEGY WAL_LOG" if size <= SMALL_BYTES else "STRATEGY FILE_COPY"
