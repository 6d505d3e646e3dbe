"""The golden template, described from outside."""

from __future__ import annotations

import secrets

import psycopg
import pytest
from psycopg import sql

from tasks_lib.databases.ownership.golden_template import require_golden
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import DatabaseError, GoldenMissingError


@pytest.fixture
def template(server):
    """Give a small database whose name needs quoting everywhere."""
    name = f'gold "%s" {secrets.token_hex(4)}'
    with server.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def role(server):
    """Give a server that an ordinary role without any right logs in to."""
    name = f"role_{secrets.token_hex(4)}"
    with server.connect() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
        yield Server(DatabaseUrl.parse(server.url.conninfo(user=name, password="x")))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def describe(server, name):
    with server.connect() as connection:
        return require_golden(connection, name)


@pytest.mark.every_major
def test_description_suffices_for_an_equal_database(server, template):
    """The description has what an equal empty database needs, and whether anything forbids a physical copy."""
    golden = describe(server, template)
    with psycopg.connect(server.url.conninfo(dbname=template)) as connection:
        row = connection.execute(
            "SELECT current_setting('server_encoding'), datcollate, datctype FROM pg_database "
            "WHERE datname = current_database()"
        ).fetchone()
        busy = describe(server, template)

    assert (golden.encoding, golden.collate, golden.ctype) == row
    assert (golden.provider, golden.locale) == (("b", "C.UTF-8") if busy.locale else ("c", None))
    assert golden.bytes > 6_000_000
    assert golden.ours
    assert (golden.sessions, busy.sessions) == (0, 1)


@pytest.mark.every_major
def test_missing_golden_lists_other_databases(server):
    """A golden template that is not there is an error that lists what is, and how to name another."""
    with pytest.raises(GoldenMissingError) as caught:
        describe(server, "no_such_latest")

    assert "golden template `no_such_latest` does not exist" in caught.value.what
    assert "postgres" in caught.value.why
    assert "WORKTREE_TEMPLATE_DB" in caught.value.hint


def test_closed_golden_is_refused_with_its_cure(server, template):
    """A golden template that accepts no connections is refused with the statement that opens it."""
    with server.connect() as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(template)))
    with pytest.raises(DatabaseError, match="accepts no connections") as caught:
        describe(server, template)

    assert "ALLOW_CONNECTIONS true" in caught.value.hint


def test_role_without_createdb_is_named(role, template):
    """A role that may not create databases is refused, by name, before anything is created."""
    with pytest.raises(DatabaseError, match="may not create databases") as caught:
        describe(role, template)

    assert f'ALTER ROLE "{role.url.parameters["user"]}" CREATEDB' in caught.value.hint


@pytest.mark.every_major
def test_database_of_another_role_is_not_ours(server, role, template):
    """Golden is ours for its owner's members; not for a role that may create databases alone."""
    user = sql.Identifier(role.url.parameters["user"])
    group = sql.Identifier(f"group_{secrets.token_hex(4)}")
    with server.connect() as connection:
        connection.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(user))
        assert not describe(role, template).ours
        connection.execute(sql.SQL("CREATE ROLE {}").format(group))
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(template), group))
        connection.execute(sql.SQL("GRANT {} TO {}").format(group, user))
        assert describe(role, template).ours
        if connection.info.server_version >= 160_000:
            connection.execute(sql.SQL("GRANT {} TO {} WITH SET FALSE").format(group, user))
            assert not describe(role, template).ours
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(sql.Identifier(template)))
        connection.execute(sql.SQL("DROP ROLE {}").format(group))
