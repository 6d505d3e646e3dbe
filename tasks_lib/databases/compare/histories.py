"""
Read every migration history of a database, to see what a tool that we ran has changed in it.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.compare.queries import copy_rows
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.sessions import READER, await_readers
from tasks_lib.errors import DatabaseError, ServerError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from psycopg import Connection

    from tasks_lib.databases.compare.queries import FindKey
    from tasks_lib.databases.server.connection import Server

_OTHER_TABLES = (
    "SequelizeMeta",
    "databasechangelog",
    "flyway_schema_history",
    "goose_db_version",
    "knex_migrations",
    "migrations",
    "mikro_orm_migrations",
    "pgmigrations",
)
"""The tables of Sequelize, Liquibase, Flyway, goose, Knex, Laravel and TypeORM, MikroORM, and node-pg-migrate."""

_LABEL_CHARACTERS = 80


@dataclass(frozen=True)
class Histories:
    """
    What the migration histories of a database say.

    Attributes:
        tables: For each table, a digest of its rows, and the key of each migration.
        unread: Why they could not be read; empty if they were.
    """

    tables: Mapping[str, tuple[str, list[str]]] = field(default_factory=dict)
    unread: str = ""


@dataclass
class HistoryWatch:
    """
    Notices whether databases are migrated or dropped while a tool runs.

    Attributes:
        connection: A connection to the maintenance database of *server*.
        databases: Their names. Those that do not exist or accept no sessions are skipped.
        known: Columns and what makes a migration's key of their values, by the name of the migration history table.
        before: What they said when this was created.
    """

    server: Server
    connection: Connection[Any]
    databases: Iterable[str]
    known: Mapping[str, tuple[Sequence[str], FindKey]]
    before: dict[str, Histories] = field(init=False)

    def __post_init__(self) -> None:
        """Read the histories, and count the sessions that the databases have had."""
        query = "SELECT datname, oid FROM pg_database WHERE datname = ANY(%s) AND datallowconn"
        self._oids: dict[str, int] = dict(self.connection.execute(query, [list(self.databases)]).fetchall())
        self.before = self._read(self._oids)
        for name in self.before:
            await_readers(self.connection, name)
        self._began = scalar(self.connection, "SELECT clock_timestamp()")
        self._sessions = self._count_sessions()

    def find_changes(self) -> dict[str, list[str]]:
        """
        Return what changed, as lines, by database.

        A database that was renamed is left out: another command promoted or pulled golden.

        Raises:
            DatabaseError: If a history that could be read cannot be read any more.
        """
        query = "SELECT oid, datname FROM pg_database WHERE oid = ANY(%s)"
        names = dict(self.connection.execute(query, [list(self._oids.values())]).fetchall())
        changes = {name: ["dropped"] for name, oid in self._oids.items() if oid not in names}
        now = self._count_sessions()
        used = [
            name
            for name, oid in self._oids.items()
            if names.get(oid) == name
            and not self.before[name].unread
            and (self._sessions.get(name) is None or now.get(name) != self._sessions[name])
        ]
        for name, after in self._read(used).items():
            if after.unread:
                raise DatabaseError(f"the migrations of `{name}` can no longer be read", why=after.unread)
            if lines := _describe_changes(self.before[name], after):
                changes[name] = lines
        return changes

    def _read(self, names: Collection[str]) -> dict[str, Histories]:
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            return dict(zip(names, pool.map(lambda name: _read(self.server, name, self.known), names), strict=True))

    def _count_sessions(self) -> dict[str, int | None]:
        """
        Return how many sessions have ended in each database since its statistics began.

        None means that the count proves nothing: a session that began after us has not ended, or may not be seen. An
        ended session is counted before it leaves `pg_stat_activity` (pgstat_shutdown_hook), from PostgreSQL 15 on.
        """
        if self.connection.info.server_version < 150_000:
            return dict.fromkeys(self.before)
        query = (
            "SELECT d.datname, CASE WHEN NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid "
            "AND a.backend_type IS DISTINCT FROM 'autovacuum worker' "
            "AND (a.backend_start IS NULL OR a.backend_start >= %s)) THEN pg_stat_get_db_sessions(d.oid) END "
            "FROM pg_database d WHERE d.datname = ANY(%s)"
        )
        return dict(self.connection.execute(query, [self._began, list(self.before)]).fetchall())


def _describe_changes(before: Histories, after: Histories) -> list[str]:
    """Return how *after* differs from *before*, as lines: what the database gained, lost or changed."""
    lines = []
    for table in sorted({*before.tables, *after.tables}):
        (old_digest, old), (new_digest, new) = (found.tables.get(table, ("", [])) for found in (before, after))
        if old_digest != new_digest:
            gained, lost = (sorted(these - those) for these, those in permutations(({*new}, {*old})))
            lines += [
                f"{verb} {', '.join(line[:_LABEL_CHARACTERS] for line in names)}"
                for verb, names in (("gained", gained), ("lost", lost))
                if names
            ] or [f"rows of {table} changed"]
    return lines


def _read(server: Server, database: str, known: Mapping[str, tuple[Sequence[str], FindKey]]) -> Histories:
    listing = (
        "SELECT n.nspname, c.relname, (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a "
        # COPY has no generated columns.
        "WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = ANY(%s) AND c.relkind = 'r'"
    )
    from psycopg import sql

    tables: dict[str, tuple[str, list[str]]] = {}
    try:
        with server.connect(database) as connection:
            connection.execute(f"SET application_name = '{READER}'; SET lock_timeout = '1s'".encode())
            found = connection.execute(listing, [[*known, *_OTHER_TABLES]]).fetchall()
            for schema, table, columns in (row for row in found if row[2]):
                rows = copy_rows(connection, sql.Identifier(schema, table), columns)
                wanted, find_key = known.get(table, ((), None))
                if find_key is None or not {*wanted} <= {*columns}:  # another tool's table of the same name
                    keys = [",".join(map(str, row)) for row in rows]
                else:
                    places = [columns.index(column) for column in wanted]
                    keys = [key for row in rows if (key := find_key(*(row[place] for place in places))) is not None]
                digest = hashlib.sha256(json.dumps(sorted(map(json.dumps, rows))).encode()).hexdigest()
                tables[f"{schema}.{table}"] = digest, keys
    except (DatabaseError, ServerError) as error:
        return Histories(unread=error.why or error.what)
    return Histories(tables)
