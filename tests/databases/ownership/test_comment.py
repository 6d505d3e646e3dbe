"""Ownership: only the comment authorises a drop; every other database is foreign."""

from __future__ import annotations

import json
import secrets
import threading
from contextlib import contextmanager

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import sql

from tasks_lib.databases.ownership import comment as ownership
from tasks_lib.databases.ownership.comment import Owner, OwnershipComment, set_comment
from tasks_lib.databases.ownership.drop import drop_owned, drop_temporary, new_temporary_name
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import database_exists
from tasks_lib.databases.server.sessions import await_no_sessions
from tasks_lib.errors import OwnershipError
from tests.signing import SIGNER

OURS = OwnershipComment(
    repository="repo", slug="feat_1", role="clone", golden="gold", created_at="2026-01-02T03:04:05+00:00"
)


@pytest.fixture
def connection(server):
    with server.connect() as connection:
        yield connection


@pytest.fixture
def make(connection):
    """Make databases, with or without a comment, that are gone after the test."""
    made = []

    def one(comment=None, name=None):
        name = name or f"own {secrets.token_hex(4)}"
        made.append(name)
        create(connection, name)
        if isinstance(comment, OwnershipComment):
            set_comment(connection, SIGNER, name, comment)
        elif comment is not None:
            connection.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(comment))
            )
        return name

    yield one
    for name in made:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def create(connection, name):
    connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))


def drop(connection, name, **changes):
    return drop_owned(connection, name, Owner(SIGNER, "feat_1"), "clone", **{"golden": "gold", **changes})


def unsigned(**changes):
    return json.dumps({**OURS.fields(), **changes})


@pytest.mark.every_major
def test_own_clone_is_dropped_with_sessions(connection, make, server):
    """Our own clone is dropped, sessions in it included."""
    name = make(OURS)
    with psycopg.connect(server.url.conninfo(dbname=name)) as session:
        assert drop(connection, name)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert not database_exists(connection, name)


def test_an_absent_one_is_no_error(connection):
    """What is not there need not be dropped."""
    assert not drop(connection, "never there")


@pytest.mark.parametrize(
    "comment",
    [
        None,
        "a person's notes",
        "",
        "null",
        "[]",
        "[" * 100_000,
        '{"tool": "goldentree"}',
        unsigned(tool="worktreepg"),
        unsigned(version=2),
        unsigned()[:-1],
        unsigned(),
        unsigned(role="Clone"),
        replace(OURS, repository="another"),
        replace(OURS, slug="feat_2"),
        replace(OURS, role="temporary"),
    ],
)
def test_what_is_not_provably_ours_stays(connection, make, comment):
    """No comment, another tool's, an edited one, another repository's, another worktree's, another role: no drop."""
    name = make(comment)
    with pytest.raises(OwnershipError, match=name):
        drop(connection, name)
    assert database_exists(connection, name)


def test_each_refusal_says_what_was_found(connection, make):
    """The errors distinguish a foreign database, one without a proof, another repository's and another worktree's."""
    for comment, said in (
        (None, "is not ours"),
        (unsigned(), "is not provably ours"),
        (replace(OURS, repository="another"), "belongs to another repository"),
        (replace(OURS, slug="feat_2"), "is the clone of worktree `feat_2`"),
    ):
        with pytest.raises(OwnershipError, match=said):
            drop(connection, make(comment))


@pytest.mark.parametrize("name", ["postgres", "template0", "template1"])
def test_maintenance_databases_are_never_dropped(connection, name):
    """PostgreSQL's own databases stay, whatever their comment says."""
    with pytest.raises(OwnershipError, match="never dropped"):
        drop(connection, name)


def test_the_golden_template_is_never_dropped(connection, make):
    """Even a database with our ownership comment stays if it is the golden template."""
    name = make(OURS)
    with pytest.raises(OwnershipError, match="never dropped"):
        drop(connection, name, golden=name)
    assert database_exists(connection, name)


def test_renamed_database_keeps_its_ownership_comment(connection, make):
    """A foreign database under our name is refused; ours is known by its comment under any name."""
    name = make(OURS)
    moved = f"{name} moved"
    connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(moved)))
    make(name=name)

    with pytest.raises(OwnershipError, match="not ours"):
        drop(connection, name)
    assert ownership.read_comment(connection, moved) == OURS
    assert drop(connection, moved)


def test_comments_are_read_as_written(connection, make):
    """What is written is what is read, odd characters too."""
    comment = OwnershipComment(repository="r'%\"", slug="s\\", role="clone", golden='a "b"\n%s', created_at="now")

    assert ownership.read_comment(connection, make(comment)) == comment


def temporary(**changes):
    return replace(OURS, role="temporary", **changes)


@pytest.mark.parametrize("comment", [None, temporary(), temporary(slug="feat_2")])
def test_temporary_databases_are_swept(connection, make, comment):
    """What a killed run left goes, though it died before the comment was there."""
    name = make(comment, name=new_temporary_name())

    assert drop_temporary(connection, name, signer=SIGNER, golden="")
    assert not database_exists(connection, name)
    assert not drop_temporary(connection, name, signer=SIGNER, golden="")


@pytest.mark.parametrize(
    "comment", [temporary(repository="another"), OURS, "a person's notes", unsigned(role="temporary")]
)
def test_other_databases_are_not_swept(connection, make, comment):
    """A temporary name alone is not enough where the comment says otherwise."""
    name = make(comment, name=new_temporary_name())
    with pytest.raises(OwnershipError):
        drop_temporary(connection, name, signer=SIGNER, golden="")
    assert database_exists(connection, name)


@pytest.mark.parametrize("name", ["postgres", "goldentree_tmp_1", "x" * 30, "goldentree_tmp_0123456789abcdef0"])
def test_only_our_temporary_names_are_swept(connection, name):
    """A name that this tool cannot have given out is refused before anything is looked up."""
    with pytest.raises(OwnershipError, match="not a temporary name"):
        drop_temporary(connection, name, signer=SIGNER, golden="")


def test_temporary_names_do_not_repeat():
    """Every name is new, and within PostgreSQL's 63 bytes."""
    names = {new_temporary_name() for _ in range(1000)}

    assert len(names) == 1000
    assert max(map(len, names)) <= 63


@contextmanager
def session(server, name):
    with psycopg.connect(server.url.conninfo(dbname=name)) as connection:
        yield connection


def test_leaving_session_is_waited_for(connection, server, make):
    """Wait for a session that is about to leave; without one, return at once."""
    name = make()
    with session(server, name) as leaving:
        threading.Timer(0.2, leaving.close).start()
        await_no_sessions(connection, name)
        assert not scalar(connection, "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [name])
