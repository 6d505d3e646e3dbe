"""
The golden template as the server describes it, looked up from the maintenance database.

Nothing here connects to golden itself: a session of ours there would be one too many for a copy by
TEMPLATE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.errors import DatabaseError, GoldenMissingError

if TYPE_CHECKING:
    from psycopg import Connection


@dataclass(frozen=True)
class Golden:
    """
    What must be known of the golden template before it is cloned.

    Attributes:
        provider: `c` libc, `i` ICU, `b` builtin (PostgreSQL 17 on).
        locale: ICU's or the builtin provider's locale; *collate* and *ctype* are libc's.
        bytes: Its size on disk.
        sessions: How many others are connected; autovacuum is not counted, the server itself sends it away.
        prepared: How many prepared transactions hold it.
        ours: Whether our role is a member of its owner, or a superuser.
        superuser: Whether our role is one.
    """

    name: str
    oid: int
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str | None
    icu_rules: str | None
    tablespace: str
    bytes: int
    sessions: int
    prepared: int
    ours: bool
    superuser: bool

    @property
    def idle(self) -> bool:
        """Whether nobody is connected to it."""
        return self.sessions == 0 and self.prepared == 0


# One row per major in which pg_database's locale columns changed (its catalog page in each manual).
_LOCALE_COLUMNS: tuple[tuple[int, LiteralString], ...] = (
    (17, "d.datlocprovider::text, d.datlocale, d.daticurules"),
    (16, "d.datlocprovider::text, d.daticulocale, d.daticurules"),
    (15, "d.datlocprovider::text, d.daticulocale, NULL"),
    (0, "'c', NULL, NULL"),
)


def require_golden(connection: Connection[Any], name: str) -> Golden:
    """
    Describe the golden template *name*.

    Raises:
        GoldenMissingError: If there is none.
        DatabaseError: If it does not accept connections, or our role may not create databases.
    """
    major = connection.info.server_version // 10_000
    locale = next(columns for since, columns in _LOCALE_COLUMNS if major >= since)
    query: LiteralString = (
        "SELECT d.oid::int8, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, "
        + locale
        + """,
            t.spcname, CASE WHEN d.datallowconn THEN pg_database_size(d.oid) ELSE 0 END,
            (SELECT count(*) FROM pg_stat_activity a
             WHERE a.datid = d.oid AND a.backend_type IS DISTINCT FROM 'autovacuum worker'),
            (SELECT count(*) FROM pg_prepared_xacts x WHERE x.database = d.datname),
            pg_has_role(d.datdba, 'MEMBER'), r.rolsuper, d.datallowconn, r.rolcreatedb
        FROM pg_database d
        JOIN pg_tablespace t ON t.oid = d.dattablespace
        JOIN pg_roles r ON r.rolname = current_user
        WHERE d.datname = %s"""
    )
    row = connection.execute(query, [name]).fetchone()
    if row is None:
        raise _missing(connection, name)
    *described, accepts_connections, may_create = row
    golden = Golden(name, *described)
    if not accepts_connections:
        raise DatabaseError(
            f"the golden template `{name}` accepts no connections",
            hint=f"psql postgres -c 'ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS true'",
        )
    if not (may_create or golden.superuser):
        role = connection.info.user
        raise DatabaseError(
            f"role `{role}` may not create databases",
            why="every worktree gets one of its own",
            hint=f'as a superuser: ALTER ROLE "{role}" CREATEDB',
        )
    return golden


def _missing(connection: Connection[Any], name: str) -> GoldenMissingError:
    others = [
        row[0]
        for row in connection.execute("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1 LIMIT 12")
    ]
    return GoldenMissingError(
        f"there is no golden template `{name}` on the server",
        why=f"databases there: {', '.join(others)}",
        hint=f"create and curate it once (createdb {name}, restore or migrate into it),\n"
        "or name another database with WORKTREE_TEMPLATE_DB",
    )
