"""Parking: renamed, closed, kept with all rows, and brought back; all of a worktree's databases, or none."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing, suppress

import psycopg
import pytest
from msgspec.structs import replace

from tasks_lib.databases.clone import park
from tasks_lib.databases.ownership.comment import Owner, OwnershipComment, read_comment, set_comment
from tasks_lib.databases.ownership.managed import list_managed
from tasks_lib.databases.server.ddl import INVALID
from tasks_lib.errors import DatabaseError, OwnershipError
from tests.signing import SIGNER

NOW, LATER, LATEST = "2026-02-03T04:05:06+00:00", "2026-02-03T04:05:07+00:00", "2026-02-03T04:05:08+00:00"
STAMP = "_parked_20260203040506"


def clone_mark(**changes):
    return replace(OwnershipComment("repo", "feat_1", "clone", "gold", "2026-01-02T03:04:05+00:00", "f1"), **changes)


def made(place, name=None, script="CREATE TABLE t AS SELECT 1 AS i", **changes):
    """Create a database with the ownership comment of a clone."""
    name = place.golden(script, name=name)
    set_comment(place.admin, SIGNER, name, clone_mark(**changes))
    return name


def parked(place, *, server=None, slug="feat_1", only=None):
    found = park.park(server or place.server, Owner(SIGNER, slug), removed_at=NOW, report=place.said.append, only=only)
    place.made += [row.name for row in found]
    return found


def unparked(place, moment=NOW, *, now=LATER):
    back = park.unpark(place.server, Owner(SIGNER, "feat_1"), removed_at=moment, now=now, report=place.said.append)
    place.made += [row.name for row in list_managed(place.admin, SIGNER)]
    return back


def world(place):
    """Return all that a refusal leaves as it was."""
    query = "SELECT datname, datallowconn, shobj_description(oid, 'pg_database') FROM pg_database ORDER BY 1"
    return place.admin.execute(query).fetchall()


@pytest.fixture
def pool(place):
    """Give a function that keeps a database busy as a pool does: a session that is ended connects again at once."""
    over, threads = threading.Event(), []

    def use(database, query):
        def loop():
            while not over.is_set():
                with suppress(psycopg.OperationalError), place.connect(database) as session:
                    while not over.is_set():
                        session.execute(query)

        threads.extend(threading.Thread(target=loop) for _ in range(3))
        for thread in threads[-3:]:
            thread.start()
        while place.admin.execute(
            "SELECT count(*) < 3 FROM pg_stat_activity WHERE datname = %s", [database]
        ).fetchone()[0]:
            time.sleep(0.01)

    yield use
    over.set()
    for thread in threads:
        thread.join()


@pytest.mark.every_major
def test_parked_databases_are_restored_unchanged(place, pool):
    """A clone and its companion are parked together, even with sessions, and restored unchanged."""
    first, companion = made(place, f"ü{'x' * 50}"), made(place, golden="")
    place.run("ALTER DATABASE {} SET search_path = a, public", first)
    pool(first, "SELECT pg_sleep(0.01)")
    with closing(place.connect(companion)) as busy:
        busy.execute("BEGIN; INSERT INTO t VALUES (2)")

        found = parked(place)

    assert {row.database for row in found} == {first, companion}
    assert all(row.bytes > 6_000_000 and row.name.endswith(STAMP) and len(row.name.encode()) <= 63 for row in found)
    assert not {first, companion} & place.databases()
    for row in found:
        was = clone_mark(golden="" if row.database == companion else "gold")
        comment = read_comment(place.admin, row.name)
        assert comment.parked_at > place.started, "by the server's clock"
        assert replace(comment, parked_at="") == replace(was, role="parked", database=row.database, removed_at=NOW)
        with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
            place.connect(row.name)
    assert any(f"sessions in {first}" in line for line in place.said)
    again = [row.name for row in parked(place)]
    assert again == [row.name for row in found], "a call that finishes a killed one tells what is parked"

    assert sorted(unparked(place)) == sorted([first, companion])
    assert read_comment(place.admin, first) == clone_mark()
    assert place.rows(companion, "SELECT i FROM t") == [(1,)]
    assert place.rows(first, "SHOW search_path") == [("a, public",)]
    assert unparked(place) == [], "a second call finds it done"


@pytest.mark.every_major
def test_parked_database_changes_places_with_a_newer_one(place):
    """A database that the worktree has created since then changes places with the parked one, and back again."""
    name = made(place)
    assert [row.database for row in parked(place, only=[name])] == [name]
    made(place, name, "CREATE TABLE t AS SELECT 2 AS i")

    with closing(place.connect(name)):
        assert unparked(place) == [name]
    assert place.rows(name, "SELECT i FROM t") == [(1,)]
    assert unparked(place, LATER, now=LATEST) == [name]
    assert place.rows(name, "SELECT i FROM t") == [(2,)]


def test_databases_of_others_are_not_parked(place):
    """Another repository's, worktree's or role's database stays, and so does an unmarked one, whatever its name."""
    name = made(place)
    squatter = place.golden(name=f"{name}{STAMP}")
    theirs, sibling = made(place, repository="another"), made(place, slug="feat_2")
    snapshot, golden = made(place, role="snapshot"), made(place, "gold")
    chosen = made(place)
    before = world(place)

    assert parked(place, only=["nothing"]) == []
    assert world(place) == before
    assert [row.name for row in parked(place, only=[name])] == [f"{name}{STAMP}_2"], "the taken name stays another's"
    untouched = {squatter, theirs, sibling, snapshot, golden, chosen}
    assert [row for row in world(place) if row[0] in untouched] == [row for row in before if row[0] in untouched]

    stranger = place.golden(name=name)
    before = world(place)
    with pytest.raises(OwnershipError, match=f"`{stranger}` exists already"):
        unparked(place)
    set_comment(place.admin, SIGNER, stranger, clone_mark(slug="feat_2"))
    with pytest.raises(OwnershipError, match=f"`{stranger}` exists already"):
        unparked(place)
    place.run("COMMENT ON DATABASE {} IS NULL", stranger)
    assert world(place) == before


def test_clone_that_became_golden_stays_when_its_worktree_is_parked(place):
    """Other clones were made from it, so it is not parked with the worktree that it once belonged to."""
    name, promoted = made(place), made(place)
    made(place, slug="feat_2", golden=promoted)

    assert [row.database for row in parked(place)] == [name]
    assert promoted in place.databases()


def test_half_dropped_database_can_only_be_dropped(place):
    """Nothing can be done with it but drop it."""
    whole, broken = made(place), made(place)
    place.admin.execute("UPDATE pg_database SET datconnlimit = %s WHERE datname = %s", [INVALID, broken])

    assert [row.database for row in parked(place)] == [whole]
    assert broken not in place.databases()


@pytest.mark.every_major
def test_parking_is_all_or_nothing(own):
    """A prepared transaction in one database, or a failure at the last, leaves all of them as they were."""
    golden = own.golden()
    names = sorted(made(own, slug="feat_9", golden=golden) for _ in range(2))
    own.execute(names[1], "BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'pending'")
    before = world(own)
    with own.connect(names[0]) as session:
        with pytest.raises(DatabaseError, match=f"a prepared transaction holds `{names[1]}`") as caught:
            parked(own, slug="feat_9")
        assert "ROLLBACK PREPARED 'pending'" in caught.value.hint
        assert world(own) == before
        session.execute("SELECT 1")
    own.execute(names[1], "ROLLBACK PREPARED 'pending'")

    role = own.role()
    own.run("ALTER DATABASE {} OWNER TO {}", names[0], role)
    with pytest.raises(DatabaseError, match="no permission"):
        parked(own, slug="feat_9", server=own.as_role(role))
    assert world(own) == before
    own.run("ALTER DATABASE {} OWNER TO {}", names[0], own.admin.info.user)
    assert len(parked(own, slug="feat_9")) == 2


def test_a_session_that_does_not_end_is_named_and_nothing_is_half_done(own, monkeypatch, capsys):
    """A stopped server process cannot be ended; the database keeps its name and stays open."""
    monkeypatch.setattr("tasks_lib.waits.QUIET_SECONDS", 0.05)
    monkeypatch.setattr("tasks_lib.databases.server.waiting.connection._ASK_SECONDS", 0.05)
    monkeypatch.setattr("tasks_lib.databases.server.waiting.connection.STOPPED_SECONDS", 0.3)
    name = made(own)
    with own.connect(name) as session:
        pid, before = session.info.backend_pid, world(own)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(DatabaseError, match=f"session {pid} .* does not leave its database") as caught:
                parked(own)
            assert world(own) == before
        finally:
            os.kill(pid, signal.SIGCONT)
    assert str(caught.value).endswith(f"kill -CONT {pid}")
    assert f"waiting up to 0.3 s for a session: session {pid} (" in capsys.readouterr().err
    assert [row.database for row in parked(own)] == [name]
