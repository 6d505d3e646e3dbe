"""
Read a database's row counts, sequences and object counts, and compare a clone with its golden template.

Everything is read in the caller's transaction. With golden's exported snapshot open, the contents are exactly what the
dump copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.databases.compare.foreign_code import PLANNED_CODE, REFUSE_VIEWS
from tasks_lib.databases.server.connection import select_all

if TYPE_CHECKING:
    from psycopg import Connection

_USER_SCHEMAS: LiteralString = r"n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

# These queries return one SELECT for each relation, so that the server quotes the names.
_TABLES: LiteralString = (
    "SELECT format('%I.%I', nspname, relname), CASE WHEN " + PLANNED_CODE + " IS NULL THEN "
    # Opening an empty table would cost more than counting a small one.
    "format(CASE WHEN pg_relation_size(c.oid) > 0 OR c.relrowsecurity "
    "THEN 'SELECT %L, count(*) FROM ONLY %I.%I' ELSE 'SELECT %L, 0::int8' END, "
    "format('%I.%I', nspname, relname), nspname, relname) END "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    # Without materialized views: a dump refreshes them, so a stale one in golden has different rows.
    "WHERE c.relkind = 'r' AND " + _USER_SCHEMAS + " ORDER BY nspname, relname"
)
_SEQUENCES: LiteralString = (
    "SELECT format("
    "'SELECT %L, last_value, is_called FROM %I.%I', format('%I.%I', nspname, relname), nspname, relname) "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind = 'S' AND " + _USER_SCHEMAS + " ORDER BY nspname, relname"
)
_EXTENSIONS: LiteralString = (
    "SELECT e.extname, e.extversion || ' in ' || n.nspname "
    "FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY 1"
)
_LOCALE: LiteralString = (
    "SELECT 'encoding', pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database() UNION ALL "
    "SELECT key, value FROM pg_database d, jsonb_each_text(to_jsonb(d)) WHERE d.datname = current_database() "
    "AND key IN ('datcollate', 'datctype', 'datlocprovider', 'datlocale', 'daticulocale', 'daticurules')"
)
_OBJECTS: LiteralString = (
    "SELECT CASE relkind WHEN 'i' THEN 'indexes' WHEN 'I' THEN 'partitioned indexes' WHEN 'v' THEN 'views' "
    "WHEN 'm' THEN 'materialized views' WHEN 'p' THEN 'partitioned tables' WHEN 'f' THEN 'foreign tables' "
    "ELSE 'composite types' END, count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE relkind NOT IN ('r', 'S', 't') AND " + _USER_SCHEMAS + " "
    # pg_dump leaves out the invalid indexes of a failed CREATE INDEX CONCURRENTLY.
    "AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = c.oid AND relkind = 'i' AND NOT i.indisvalid) "
    "GROUP BY 1 "
    "UNION ALL SELECT 'constraints', count(*) FROM pg_constraint x JOIN pg_namespace n ON n.oid = x.connamespace "
    # PostgreSQL 18 also lists NOT NULL as constraints, and gives them new names on restore.
    "WHERE x.contype <> 'n' AND " + _USER_SCHEMAS + " "
    "UNION ALL SELECT 'triggers', count(*) FROM pg_trigger WHERE NOT tgisinternal "
    "UNION ALL SELECT 'functions', count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
    "WHERE " + _USER_SCHEMAS + " "
    "UNION ALL SELECT 'policies', count(*) FROM pg_policy "
    "UNION ALL SELECT 'large objects', count(*) FROM pg_largeobject_metadata"
)


@dataclass(frozen=True)
class Contents:
    """
    A database's contents, as far as they are compared: for each topic, values by name.

    Attributes:
        locale: Encoding, collation and provider.
        extensions: Version and schema.
        tables: Exact row counts, by `schema.table`.
        sequences: `last_value` and `is_called`, by `schema.sequence`.
        objects: The number of objects of each other kind.
    """

    locale: dict[str, str]
    extensions: dict[str, str]
    tables: dict[str, int]
    sequences: dict[str, tuple[int, bool]]
    objects: dict[str, int]

    @property
    def rows(self) -> int:
        """Total number of rows in all tables."""
        return sum(self.tables.values())


@dataclass(frozen=True)
class Difference:
    """One difference: topic, name, and both values; None for a missing one."""

    topic: str
    name: str
    golden: Any
    clone: Any

    def __str__(self) -> str:
        return f"{self.topic} `{self.name}`: {_format(self.golden)} in golden, {_format(self.clone)} in the clone"


def read_contents(connection: Connection[Any]) -> Contents:
    """Read the contents of the database that *connection* is connected to, in its current transaction."""
    # Raise an error rather than miss the rows that a row-level policy hides.
    connection.execute(f"SET LOCAL row_security = off; {REFUSE_VIEWS}")
    return Contents(
        locale={key: value for key, value in connection.execute(_LOCALE) if value is not None},
        extensions=dict(connection.execute(_EXTENSIONS).fetchall()),
        tables=_count_rows(connection),
        sequences=read_sequences(connection),
        objects={kind: count for kind, count in connection.execute(_OBJECTS) if count},
    )


def read_sequences(connection: Connection[Any]) -> dict[str, tuple[int, bool]]:
    """Read the current state of every sequence; a transaction's snapshot does not freeze sequences."""
    # pg_sequences.last_value would be NULL until the first nextval, even after setval.
    return {name: (row[0], row[1]) for name, row in _run_listed(connection, _SEQUENCES)}


def find_differences(golden: Contents, clone: Contents) -> list[Difference]:
    """Return the differences between *golden* and *clone*."""
    return [
        Difference(topic, name, ours.get(name), theirs.get(name))
        for topic in ("locale", "extensions", "tables", "sequences", "objects")
        for ours, theirs in [(getattr(golden, topic), getattr(clone, topic))]
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]


def _count_rows(connection: Connection[Any]) -> dict[str, int]:
    from psycopg import sql

    listed = connection.execute(_TABLES).fetchall()
    counts: dict[str, int] = dict(select_all(connection, [select for _, select in listed if select]))
    for name in (name for name, select in listed if not select):
        # Not planned, but it sends all rows: for tables whose planning would run the code of another role.
        with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.SQL(name))) as rows:
            counts[name] = sum(1 for _ in rows)
    return counts


def _run_listed(connection: Connection[Any], listing: LiteralString) -> list[tuple[str, tuple[Any, ...]]]:
    """Run the SELECTs that the query *listing* returns; return each row's label and its other columns."""
    selects = [row[0] for row in connection.execute(listing)]
    return [(row[0], row[1:]) for row in select_all(connection, selects)]


def _format(value: Any) -> str:
    return "missing" if value is None else str(value)
