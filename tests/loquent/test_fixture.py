"""The fixture that tests and benchmarks clone: a whole account, as large and awkward as a real one."""

from __future__ import annotations

import secrets

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tasks_lib.errors import DatabaseError, GoldentreeError
from tasks_lib.loquent import fixture


@pytest.fixture(scope="module")
def url(server_url):
    """Give the URL of a fixture that no other test changes."""
    name = f"loquent_{secrets.token_hex(4)}"
    fixture.create_fixture(server_url, name)
    yield make_conninfo(server_url, dbname=name)
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f"DROP DATABASE {name}")


@pytest.fixture
def db(url):
    with psycopg.connect(url) as connection:
        yield connection


def column(connection, query):
    return [row[0] for row in connection.execute(query)]


@pytest.mark.parametrize(("table", "rows"), [("contact", 10), ("ai_agent", 9), ("phone_number", 1), ('"user"', 2)])
def test_fixture_has_the_accounts_rows(db, table, rows):
    """It has as many agents and numbers as a real golden template, and the contacts and users that the blocks make."""
    assert column(db, f"SELECT count(*) FROM {table}") == [rows]


def test_migration_history_has_297_migrations(db):
    """297 migrations are applied, named as SeaORM names them, the last one at 320000."""
    versions = column(db, "SELECT version FROM seaql_migrations ORDER BY applied_at")

    assert len(versions) == 297
    assert sorted(versions) == versions
    assert versions[0] == "m20240101_000001_create_user"
    assert versions[-1].startswith("m20260601_320000_")


def test_is_as_large_as_the_real_one(db):
    """121 tables and about 17 MB, which the benchmarks are calibrated on."""
    assert column(db, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [121]
    (megabytes,) = column(db, "SELECT pg_database_size(current_database()) / 1048576.0")
    assert megabytes == pytest.approx(17, abs=1.5)


def test_has_what_a_careless_copy_loses(db):
    """A sequence ahead of its rows, a filled materialized view, comments, partial and expression indexes."""
    assert db.execute("SELECT last_value, is_called FROM task_number_seq").fetchall() == [(5000, False)]
    assert column(db, "SELECT relispopulated FROM pg_class WHERE relname = 'audit_summary'") == [True]
    assert column(
        db,
        "SELECT count(*) FROM pg_description"
        " WHERE objoid IN ('ai_agent'::regclass, 'email_password_account'::regclass)",
    ) == [2]
    assert column(
        db,
        "SELECT coalesce(indpred, indexprs) IS NOT NULL FROM pg_index"
        " WHERE indexrelid IN ('task_open'::regclass, 'tag_name_per_organization'::regclass)",
    ) == [True, True]


def test_existing_name_is_refused(server_url, url):
    """A second create says what is in the way and leaves it alone."""
    with psycopg.connect(url) as connection:
        (name,) = column(connection, "SELECT current_database()")

    with pytest.raises(DatabaseError, match=f"the database `{name}` already exists"):
        fixture.create_fixture(server_url, name)

    with psycopg.connect(url) as connection:
        assert column(connection, "SELECT count(*) FROM contact") == [10]


def test_failed_fill_leaves_no_database(server_url):
    """When the schema cannot be made, the new database is dropped again."""
    name = f"loquent_{secrets.token_hex(4)}"

    with pytest.raises(GoldentreeError) as failed:
        fixture.create_fixture(make_conninfo(server_url, options="-c search_path=nowhere"), name)

    assert "no schema has been selected" in str(failed.value)
    with psycopg.connect(server_url) as server:
        assert server.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchall() == []
