"""Questions about one database."""

from __future__ import annotations

import pytest

from tasks_lib.databases.compare import queries
from tasks_lib.databases.server import binaries
from tasks_lib.errors import DatabaseError


@pytest.mark.every_major
def test_keys_and_checksums_are_read(server, golden):
    """The keys of applied migrations and their checksums; a table that is not there has none."""
    found = queries.read_migrations(server, golden, "seaql_migrations", ["version"], str, "applied_at")
    assert len(found) == 297
    assert all(value.isdecimal() for value in found.values())
    assert queries.read_migrations(server, golden, "seaql_migrations", ["version"], lambda _: None) == {}
    assert queries.read_migrations(server, golden, "schema_migrations", ["version"], str) == {}
    assert queries.read_migrations(server, golden, "no_schema.schema_migrations", ["version"], str) == {}


def test_failing_query_names_the_database(server, golden):
    """A table that has another shape than expected is an error that names the database."""
    with pytest.raises(DatabaseError, match=f"`{golden}`"):
        queries.read_migrations(server, golden, "seaql_migrations", ["no_such_column"], str)


@pytest.mark.every_major
def test_size_and_user_tables_are_read(server, golden):
    """Size in bytes, and the tables that users made, PostgreSQL's own not counted."""
    size, tables = queries.read_size_and_table_count(server, golden)

    assert 12_000_000 < size < 30_000_000
    assert tables == 121


@pytest.mark.every_major
def test_contents_are_read_at_one_moment(server, golden):
    """The facts of a whole database, read at one moment."""
    found = queries.read_contents_of(server, golden)

    assert len(found.tables) == 121
    assert found.tables["public.ai_agent"] == 9


@pytest.mark.every_major
def test_client_folder_fits_the_server(server):
    """The folder is that of a pg_dump of the server's own major version, else of the next newer one."""
    folder = queries.find_client_directory(server)
    with server.connect() as connection:
        major = connection.info.server_version // 10_000
    clients = {found.major for found in binaries.list_installed() if found.has(*binaries.CLIENT)}
    assert binaries.find_at(folder).major == min(client for client in clients if client >= major)


def test_missing_clients_give_no_folder(server, monkeypatch):
    """Without suitable client programs the folder is None, and no error is raised: only some tools need one."""
    monkeypatch.setattr(binaries, "list_installed", list)

    assert queries.find_client_directory(server) is None
