"""
Publishing: a finished database gets its final name in the same transaction as its label.

Whatever lives in shared catalogs (settings, database privileges, the comment) is copied by neither
pg_dump nor TEMPLATE; it is replayed here. The rename comes last, so a database that bears a final
name is complete, and a process killed anywhere leaves nothing that anyone would connect to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership.comment import await_no_sessions, set_comment
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import rename_database

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden

# Those whose stored text is a list of quoted identifiers (pg_dump: variable_is_guc_list_quote, dumputils.c).
_LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "temp_tablespaces",
    }
)


def publish(
    connection: Connection[Any], golden: Golden | None, temporary: str, final: str, mark: OwnershipComment
) -> list[str]:
    """
    Give the finished database *temporary* its settings, privileges and mark, and the name *final*.

    Args:
        golden: Whose settings and privileges; None where it has its own already, or none at all.

    Returns a warning for each of golden's settings that our role may not set.

    Raises:
        psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation: If somebody else took the name.
    """
    await_no_sessions(connection, temporary)
    with connection.transaction():
        warnings = replay_settings(connection, golden, temporary) if golden else []
        set_comment(connection, temporary, mark)
        rename_database(connection, temporary, final)
    return warnings


def publish_as_golden(connection: Connection[Any], temporary: str, golden: str) -> None:
    """Make the finished database *temporary* the golden template *golden*, in the caller's transaction."""
    from psycopg import sql

    # Golden is its users', not ours: it bears no mark.
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS NULL").format(sql.Identifier(temporary)))
    rename_database(connection, temporary, golden)


def replay_settings(connection: Connection[Any], golden: Golden, name: str) -> list[str]:
    """Give the database *name* golden's settings and privileges; return a warning for each that was refused."""
    warnings = _replay_settings(connection, golden, name)
    _replay_privileges(connection, golden, name)
    return warnings


def _replay_settings(connection: Connection[Any], golden: Golden, name: str) -> list[str]:
    """Repeat `ALTER DATABASE ... SET` and `ALTER ROLE ... IN DATABASE ... SET`; return what was refused."""
    from psycopg import Error, sql

    settings = connection.execute(
        "SELECT r.rolname, split_part(s.item, '=', 1), substr(s.item, strpos(s.item, '=') + 1) "
        "FROM pg_db_role_setting d LEFT JOIN pg_roles r ON r.oid = d.setrole, unnest(d.setconfig) AS s(item) "
        "WHERE d.setdatabase = %s",
        [golden.oid],
    ).fetchall()
    warnings = []
    for role, key, value in settings:
        target = sql.SQL("DATABASE {}").format(sql.Identifier(name))
        if role is not None:
            target = sql.SQL("ROLE {} IN {}").format(sql.Identifier(role), target)
        statement = sql.SQL("ALTER {} SET {} TO {}").format(
            target,
            sql.SQL(".").join(map(sql.Identifier, key.split("."))),
            sql.SQL(", ").join(map(sql.Literal, _elements(value) if key in _LISTS else [value])),
        )
        try:
            with connection.transaction():
                connection.execute(statement)
        except Error as error:
            warnings.append(f"golden's setting `{key}` could not be repeated: {error.diag.message_primary}")
    return warnings


def _elements(value: str) -> list[str]:
    """Return the elements of a stored list such as `"$user", public`; as one literal it would be one element."""
    return [quoted.replace('""', '"') or plain for quoted, plain in re.findall(r'"((?:[^"]|"")*)"|([^",\s]+)', value)]


def _replay_privileges(connection: Connection[Any], golden: Golden, name: str) -> None:
    """Give the database *name* golden's own privileges (CONNECT, CREATE, TEMPORARY)."""
    from psycopg import sql

    if scalar(connection, "SELECT datacl IS NULL FROM pg_database WHERE oid = %s", [golden.oid]):
        return  # nobody ever changed them
    grants = connection.execute(
        "SELECT pg_get_userbyid(nullif(a.grantee, 0)), a.privilege_type, a.is_grantable "
        "FROM pg_database d, aclexplode(d.datacl) a WHERE d.oid = %s",
        [golden.oid],
    ).fetchall()
    database, owner = sql.Identifier(name), sql.Identifier(golden.owner)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(database, owner))
    for grantee, privilege, grantable in grants:
        connection.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {} {}").format(
                sql.SQL(privilege),
                database,
                sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC"),
                sql.SQL("WITH GRANT OPTION" if grantable else ""),
            )
        )
