"""
Read a database's fingerprint: a digest of its whole contents that does not need to read column values.

Every visible row version has an address (`ctid`) and the id of the transaction that wrote it (`xmin`), which freezing
keeps. A new version has a new `xmin`, and a deletion changes the count. So a count and a sum of hashes for each
relation, catalogs included, change whenever anything changes that SELECT could see. A physical copy keeps both, so it
has its original's fingerprint.

Sequences are not transactional, so their values are read. Settings, privileges, owner and comment of the database are
in shared catalogs rather than in the database, and are included as well.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.databases.compare.foreign_code import PLANNED_CODE, REFUSE_VIEWS
from tasks_lib.databases.server.connection import select_all

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.server.connection import Server

BEGIN: LiteralString = f"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL jit = off; {REFUSE_VIEWS}"
"""Statements that begin the transaction in which a fingerprint is read."""

# This query returns one SELECT for each relation, so that the server quotes the names.
_LISTING: LiteralString = """
    SELECT c.relkind = 'S', format({}, c.oid::int8, n.nspname, c.relname),
        CASE WHEN NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
            THEN format('role %I may not read `%s.%s`', current_user, n.nspname, c.relname)
            WHEN c.relrowsecurity AND row_security_active(c.oid)
            THEN format('row-level security hides rows of `%s.%s`', n.nspname, c.relname)
            ELSE {} END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (c.relkind IN ('r', 'S') OR c.relkind = 'm' AND c.relispopulated)
        AND c.relpersistence <> 't' AND NOT c.relisshared
        -- ANALYZE rewrites the first two; the third never changes. Ordinary roles may not read any of them.
        AND c.oid NOT IN ('pg_statistic'::regclass, 'pg_statistic_ext_data'::regclass,
            'information_schema.sql_parts'::regclass)
        -- Ordinary roles may not read these catalogs, but public views show whether they are empty.
        AND NOT (c.oid = 'pg_user_mapping'::regclass AND NOT EXISTS (SELECT FROM pg_user_mappings))
        AND NOT (c.oid = 'pg_largeobject'::regclass AND NOT EXISTS (SELECT FROM pg_largeobject_metadata))
        -- Opening an empty relation would cost more than reading a small one.
        AND (pg_relation_size(c.oid) > 0 OR c.relrowsecurity)
    ORDER BY c.oid"""
_TABLE: LiteralString = "SELECT %s::int8, count(*), coalesce(sum({}), 0)::text FROM ONLY %I.%I"
# pg_sequences.last_value would be NULL until the first nextval, even after setval.
_SEQUENCE: LiteralString = "SELECT %s::int8, last_value, is_called::text FROM %I.%I"
_FORMAT: LiteralString = "CASE c.relkind WHEN 'S' THEN {} ELSE {} END"

# `hashtidextended` is new in PostgreSQL 14.
_HASHES: tuple[tuple[int, LiteralString], ...] = (
    (140_000, "hashtidextended(ctid, int8in(xidout(xmin)))"),
    (0, "hashtextextended(xmin::text || ctid::text, 0)"),
)

_SHARED: LiteralString = (
    "SELECT 1, (to_jsonb(d) - 'datfrozenxid' - 'datminmxid')::text FROM pg_database d WHERE d.oid = %(oid)s "
    "UNION ALL SELECT 2, to_jsonb(s)::text FROM pg_db_role_setting s WHERE s.setdatabase = %(oid)s "
    "UNION ALL SELECT 3, c.description FROM pg_shdescription c "
    "WHERE c.classoid = 'pg_database'::regclass AND c.objoid = %(oid)s "
    "UNION ALL SELECT 4, to_jsonb(l)::text FROM pg_shseclabel l "
    "WHERE l.classoid = 'pg_database'::regclass AND l.objoid = %(oid)s ORDER BY 1, 2"
)


@dataclass(frozen=True)
class Fingerprint:
    """
    A fingerprint, or the reason why it could not be read.

    Attributes:
        digest: SHA-256 in hex; empty if unknown.
        outside: Digest of the part that snapshots do not freeze: sequences and shared catalogs.
        obstacle: Why *digest* is unknown.
    """

    digest: str
    outside: str = ""
    obstacle: str = ""


UNKNOWN = Fingerprint("")


def read_from(server: Server, database: str, oid: int) -> Fingerprint:
    """Connect to *database* and read its fingerprint; see `read`."""
    with server.connect(database) as connection:
        connection.execute(BEGIN)
        return read(connection, oid)


def read(connection: Connection[Any], oid: int) -> Fingerprint:
    """
    Read the fingerprint of the database that *connection* is connected to.

    Args:
        connection: In a transaction that began with `BEGIN`.
        oid: The database whose entries in the shared catalogs are read; for a copy, its original.

    Raises:
        psycopg.errors.LockNotAvailable: If a relation was locked for longer than the session's `lock_timeout`.
    """
    listed = _listed(connection)
    obstacle = next((text for _, _, text in listed if text), "")
    if obstacle:
        return Fingerprint("", obstacle=obstacle)
    outside = _outside(connection, oid, [select for is_sequence, select, _ in listed if is_sequence])
    # Leave out empty tables, because a table that VACUUM has truncated to no pages is not listed.
    tables = [
        row for row in _run(connection, [select for is_sequence, select, _ in listed if not is_sequence]) if row[1]
    ]
    return Fingerprint(_digest([tables, outside]), outside)


def read_outside(connection: Connection[Any], oid: int) -> str:
    """Read the current `Fingerprint.outside`."""
    return _outside(connection, oid, [select for is_sequence, select, _ in _listed(connection) if is_sequence])


def _outside(connection: Connection[Any], oid: int, sequences: list[str]) -> str:
    shared = connection.execute(_SHARED, {"oid": oid}).fetchall()
    return _digest([_run(connection, sequences), shared])


def _listed(connection: Connection[Any]) -> list[tuple[bool, str, str | None]]:
    from psycopg import sql

    hashed = next(text for since, text in _HASHES if connection.info.server_version >= since)
    texts = sql.SQL(_FORMAT).format(sql.Literal(_SEQUENCE), sql.Literal(_TABLE.format(hashed)))
    return connection.execute(sql.SQL(_LISTING).format(texts, sql.SQL(PLANNED_CODE))).fetchall()


def _run(connection: Connection[Any], selects: list[str]) -> list[tuple[Any, ...]]:
    # Parallel workers return rows in any order.
    return sorted(select_all(connection, selects))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
