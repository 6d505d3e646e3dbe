"""Publishing: settings, privileges, comment and name in one transaction."""

from __future__ import annotations

import secrets

import psycopg
import pytest
from psycopg import sql

from tasks_lib.databases.clone.publish import publish
from tasks_lib.databases.ownership.comment import OwnershipComment, read_comment
from tasks_lib.databases.ownership.golden_template import require_golden
from tasks_lib.databases.server.ddl import database_exists
from tests.signing import SIGNER

pytestmark = pytest.mark.every_major

MARK = OwnershipComment("repo", "slug", "clone", "gold", "now")


@pytest.fixture
def connection(server):
    with server.connect() as connection:
        yield connection


@pytest.fixture
def names(connection):
    """Give the names of two small databases, golden and temporary, and one that is free."""
    unique = secrets.token_hex(4)
    golden, temporary, final = (f'{kind} "%s" {unique}' for kind in ("gold", "tmp", "final"))
    for name in (golden, temporary):
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    yield golden, temporary, final
    for name in (golden, temporary, final):
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def role(connection):
    name = f'role "%s" {secrets.token_hex(4)}'
    connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    yield name
    connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def alter(connection, database, *statements):
    for statement in statements:
        connection.execute(sql.SQL(statement).format(database=sql.Identifier(database)))


def settings(connection, database):
    return connection.execute(
        "SELECT setrole::regrole::text, unnest(setconfig) FROM pg_db_role_setting s "
        "JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = %s ORDER BY 1, 2",
        [database],
    ).fetchall()


def test_settings_of_golden_are_repeated(connection, names, role, server):
    """Every setting of golden's arrives as it was stored, lists, odd values and per-role ones included."""
    golden, temporary, final = names
    alter(
        connection,
        golden,
        """ALTER DATABASE {database} SET search_path = "$user", "odd, ""%s"" schema", public""",
        "ALTER DATABASE {database} SET timezone = 'Asia/Kathmandu'",
        "ALTER DATABASE {database} SET app.tenant = 'a = ''b'' %s, c'",
        "ALTER DATABASE {database} SET temp_tablespaces = ''",
        "ALTER DATABASE {database} SET statement_timeout = '1ms'",
        "ALTER DATABASE {database} SET default_transaction_read_only = on",
        "ALTER DATABASE {database} SET session_preload_libraries = pg_trgm, plpgsql",
        "ALTER DATABASE {database} SET DateStyle = 'ISO, DMY'",
    )
    connection.execute(
        sql.SQL("ALTER ROLE {} IN DATABASE {} SET search_path = a, b").format(
            sql.Identifier(role), sql.Identifier(golden)
        )
    )
    expected = settings(connection, golden)

    assert publish(connection, SIGNER, require_golden(connection, golden), temporary, final, MARK) == []
    assert settings(connection, final) == expected
    with psycopg.connect(server.url.conninfo(dbname=final)) as inside:
        assert inside.execute("SHOW search_path").fetchone() == ('"$user", "odd, ""%s"" schema", public',)
        assert inside.execute("SHOW timezone").fetchone() == ("Asia/Kathmandu",)


def test_empty_search_path_stays_empty(connection, names):
    """An empty search path stays empty."""
    golden, temporary, final = names
    alter(connection, golden, "ALTER DATABASE {database} SET search_path = ''")
    publish(connection, SIGNER, require_golden(connection, golden), temporary, final, MARK)

    assert settings(connection, final) == settings(connection, golden)


def test_settings_that_are_refused_are_warned_of(connection, names, role):
    """A setting that our role may not make is a warning; the others are made."""
    golden, temporary, final = names
    alter(
        connection,
        golden,
        "ALTER DATABASE {database} SET session_preload_libraries = ''",
        "ALTER DATABASE {database} SET timezone = 'UTC'",
    )
    for name in (golden, temporary):
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), sql.Identifier(role)))
    connection.execute(sql.SQL("ALTER ROLE {0} CREATEDB; SET ROLE {0}").format(sql.Identifier(role)))
    warnings = publish(connection, SIGNER, require_golden(connection, golden), temporary, final, MARK)
    connection.execute("RESET ROLE")
    for name in (golden, final):
        alter(connection, name, "ALTER DATABASE {database} OWNER TO CURRENT_USER")

    assert len(warnings) == 1
    assert "`session_preload_libraries` could not be copied: permission denied" in warnings[0]
    assert settings(connection, final) == [("-", "TimeZone=UTC")]


def privileges(connection, database):
    return connection.execute(
        "SELECT a.grantee::regrole::text, a.privilege_type, a.is_grantable FROM pg_database d, "
        "aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE datname = %s ORDER BY 1, 2",
        [database],
    ).fetchall()


@pytest.mark.parametrize(
    "statements",
    [
        (),
        ("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",),
        ("REVOKE ALL ON DATABASE {database} FROM PUBLIC",),
        ("REVOKE ALL ON DATABASE {database} FROM PUBLIC, CURRENT_USER",),
        ("REVOKE CREATE ON DATABASE {database} FROM CURRENT_USER",),
        ("GRANT CREATE ON DATABASE {database} TO pg_monitor WITH GRANT OPTION",),
    ],
)
def test_privileges_of_golden_are_repeated(connection, names, statements):
    """Who may connect, create and make temporary tables is as in golden, what was revoked included."""
    golden, temporary, final = names
    alter(connection, golden, *statements)
    publish(connection, SIGNER, require_golden(connection, golden), temporary, final, MARK)

    assert privileges(connection, final) == privileges(connection, golden)


def test_a_taken_name_changes_nothing(connection, names):
    """Where the name is taken, the database that has it stays, and the temporary one is as it was."""
    golden, temporary, _ = names
    with pytest.raises((psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation)):
        publish(connection, SIGNER, require_golden(connection, golden), temporary, golden, MARK)

    assert database_exists(connection, temporary)
    assert read_comment(connection, temporary) is None
    assert read_comment(connection, golden) is None


def test_published_database_has_its_ownership_comment(connection, names):
    """The published database has the ownership comment; the temporary name is gone."""
    golden, temporary, final = names
    publish(connection, SIGNER, require_golden(connection, golden), temporary, final, MARK)

    assert read_comment(connection, final) == MARK
    assert not database_exists(connection, temporary)
