"""
Give a finished database golden's settings, its ownership comment and its final name, in one transaction.

Neither pg_dump nor TEMPLATE copies what is in shared catalogs: settings, database privileges and the comment. The
rename comes last, so a database with a final name is complete, and a killed process leaves only temporary names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import rename_database
from tasks_lib.databases.server.sessions import await_no_sessions

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.signer import Signer

# Settings stored as a list of quoted identifiers (pg_dump: variable_is_guc_list_quote, dumputils.c).
_LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "temp_tablespaces",
    }
)


def publish(
    connection: Connection[Any],
    signer: Signer,
    golden: Golden | None,
    temporary: str,
    final: str,
    comment: OwnershipComment,
) -> list[str]:
    """
    Give the finished database *temporary* its settings, privileges and ownership comment, and the name *final*.

    Args:
        golden: Its settings and privileges are copied; None to copy none.

    Returns:
        A warning for each of golden's settings that our role may not set.

    Raises:
        psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation: If another process took the name.
    """
    await_no_sessions(connection, temporary)
    with connection.transaction():
        warnings = copy_settings(connection, golden, temporary) if golden else []
        set_comment(connection, signer, temporary, comment)
        rename_database(connection, temporary, final)
    return warnings


def publish_as_golden(connection: Connection[Any], temporary: str, golden: str) -> None:
    """Make the finished database *temporary* the golden template *golden*, in the caller's transaction."""
    from psycopg import sql

    # The golden template belongs to its users, so it has no ownership comment.
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS NULL").format(sql.Identifier(temporary)))
    rename_database(connection, temporary, golden)


def copy_settings(connection: Connection[Any], golden: Golden, name: str) -> list[str]:
    """Give the database *name* golden's settings and privileges; return a warning for each that was refused."""
    warnings = _copy_settings(connection, golden, name)
    _copy_privileges(connection, golden, name)
    return warnings


def _copy_settings(connection: Connection[Any], golden: Golden, name: str) -> list[str]:
    """Copy `ALTER DATABASE ... SET` and `ALTER ROLE ... IN DATABASE ... SET`; return a warning for each refused one."""
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
            warnings.append(f"golden's setting `{key}` could not be copied: {error.diag.message_primary}")
    return warnings


def _elements(value: str) -> list[str]:
    """Return the elements of a stored list such as `"$user", public`, which SET would take for one element."""
    return [quoted.replace('""', '"') or plain for quoted, plain in re.findall(r'"((?:[^"]|"")*)"|([^",\s]+)', value)]


def _copy_privileges(connection: Connection[Any], golden: Golden, name: str) -> None:
    """Give the database *name* golden's own privileges (CONNECT, CREATE, TEMPORARY)."""
    from psycopg import sql

    if scalar(connection, "SELECT datacl IS NULL FROM pg_database WHERE oid = %s", [golden.oid]):
        return  # the defaults were never changed
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
