"""A golden template from nothing gets its name once it is complete, and a failure leaves nothing."""

from __future__ import annotations

import secrets
import threading
from contextlib import ExitStack, closing

import psycopg
import pytest

from tasks_lib.databases.golden import build as building
from tasks_lib.databases.ownership import temporaries
from tasks_lib.databases.server.connection import Server
from tasks_lib.errors import DatabaseError


class Builder:
    """A golden template that is not there yet."""

    def __init__(self, place):
        self.place = place
        self.name = f"gold_{secrets.token_hex(4)}"
        place.made.append(self.name)

    def __call__(self, fill, *, server=None):
        source = self.place.source(self.name, server=server)
        return building.build_golden(source, fill, now="2026-01-02T03:04:05+00:00", report=self.place.said.append)

    def fails(self, fill, error=DatabaseError, *, match=None, **options):
        """Build, expect *error*, and nothing to be left."""
        before = self.place.databases()
        with pytest.raises(error, match=match):
            self(fill, **options)
        assert self.place.databases() == before
        assert not list(self.place.folder.glob("temporaries/*"))


@pytest.fixture
def build(place):
    return Builder(place)


def fill(url):
    """Make a table, and return the name of the database."""
    with Server(url).connect(url.database) as connection:
        connection.execute("CREATE TABLE public.t AS SELECT 'ö' AS name")
    return url.database


@pytest.mark.every_major
def test_golden_is_published_once_complete(place, build):
    """It is UTF-8, has no ownership comment, belongs to the role that built it, and was filled under another name."""
    role = place.role()
    seen = build(fill, server=place.as_role(role))
    assert seen.startswith("goldentree_tmp_")
    assert seen not in place.databases()
    described = place.admin.execute(
        "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), shobj_description(oid, 'pg_database') "
        "FROM pg_database WHERE datname = %s",
        [build.name],
    ).fetchone()
    assert described == (role, "UTF8", None)
    cloned = place.clone(build.name, method="auto").database
    assert place.assert_same_rows(build.name, cloned, "SELECT * FROM t") == [("ö",)]
    assert not list(place.folder.glob("temporaries/*"))


@pytest.mark.parametrize("error", [DatabaseError("no"), KeyboardInterrupt(), ZeroDivisionError()])
def test_failed_build_leaves_nothing_behind(place, build, error):
    """However the filling fails, and whatever is still connected: nothing is left, and the next build works."""
    with ExitStack() as sessions:

        def failing(url):
            sessions.enter_context(closing(psycopg.connect(url.text)))
            raise error

        build.fails(failing, type(error))
    build(fill)
    assert place.rows(build.name, "SELECT * FROM t") == [("ö",)]


def test_name_taken_during_a_build_is_left_alone(place, build):
    """Theirs stays as it is, whether it came before or while ours was filled."""

    def late(url):
        place.golden("CREATE TABLE theirs (i int)", name=build.name)

    taken = f"a database `{build.name}` has been created in the meantime"
    with pytest.raises(DatabaseError, match=taken):
        build(late)
    build.fails(pytest.fail, match=taken)
    assert place.rows(build.name, "SELECT count(*) FROM theirs") == [(0,)]


def test_second_build_waits_for_the_first(place, build, meanwhile, eventually):
    """A second build waits for the first, and does not even begin."""
    begun, go = threading.Event(), threading.Event()

    def slowly(url):
        begun.set()
        go.wait()

    def late():
        with pytest.raises(DatabaseError, match="has been created in the meantime"):
            build(pytest.fail)

    first = meanwhile(lambda: build(slowly))
    begun.wait()
    meanwhile(late)
    try:
        asking = (
            "SELECT FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory%' AND pid <> pg_backend_pid() "
            "AND query_start > statement_timestamp() - interval '100 ms'"
        )
        eventually(lambda: place.admin.execute(asking).fetchone() is not None)
    finally:
        go.set()
    first.join()


def test_role_without_createdb_is_refused(place, build):
    """A role that may not create databases gets an error that says so."""
    server = place.as_role(place.role("LOGIN"))
    build.fails(pytest.fail, match="no permission in `postgres`\n  permission denied to create", server=server)


def test_failed_cleanup_is_repeated_by_the_next_build(place, build, monkeypatch):
    """The error is that of the filling; a database that could not be dropped is dropped by the next build."""

    def stuck(*arguments, **options):
        raise psycopg.errors.DiskFull

    def failing(url):
        raise DatabaseError("the first reason")

    with monkeypatch.context() as patch:
        patch.setattr(temporaries, "drop_temporary", stuck)
        with pytest.raises(DatabaseError, match="the first reason"):
            build(failing)
    build(fill)
    assert [said.startswith("dropped goldentree_tmp_") for said in place.said] == [True]
