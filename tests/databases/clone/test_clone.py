"""Clones: refused before anything is created, complete under their final name, and no leftovers of failed ones."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from tasks_lib.databases.clone import clone, strategy
from tasks_lib.databases.ownership import golden_template as golden_module
from tasks_lib.databases.ownership import temporaries
from tasks_lib.databases.ownership.comment import Owner, OwnershipComment, read_comment
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.ddl import INVALID
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import CloneError, DatabaseError, GoldenMissingError, OwnershipError, ServerError
from tests.signing import OTHER, SIGNER

OWNER = Owner(SIGNER, "feat_1")


def examine(place, golden, database="free_name", *, server=None):
    return clone.check_clone(place.source(golden, server=server), database, slug="feat_1")


@pytest.fixture
def small(place):
    return place.golden("CREATE TABLE t AS SELECT generate_series(1, 3) AS i")


@pytest.mark.every_major(slow=True)
def test_check_of_a_clone_describes_golden_and_creates_nothing(place, small):
    """The examination describes golden, makes nothing, and passes again once the clone is there."""
    before = place.databases()

    assert examine(place, small).name == small
    assert place.databases() == before
    made = place.clone(small)
    assert examine(place, small, made.database).name == small


def test_clone_cannot_have_the_name_of_golden_or_postgres(place, small):
    """A clone is never named as golden or as one of PostgreSQL's own databases."""
    for name in (small, "postgres", "template1"):
        with pytest.raises(OwnershipError, match="may not be named"):
            examine(place, small, name)


def test_foreign_database_of_the_name_is_refused(place, small):
    """A database of that name that is not ours, or is another worktree's, is refused before anything is created."""
    stranger = place.golden()
    with pytest.raises(OwnershipError, match="is not ours"):
        examine(place, small, stranger)
    with pytest.raises(OwnershipError, match="is not ours"):
        clone.is_complete(place.server, stranger, OWNER)
    place.signer = OTHER
    theirs = place.clone(small).database
    place.signer = SIGNER
    with pytest.raises(OwnershipError, match="another repository"):
        examine(place, small, theirs)


@pytest.mark.every_major(slow=True)
@pytest.mark.parametrize("method", ["auto", "template", "dump"])
def test_refused_clone_creates_no_database(place, small, method):
    """No golden, a closed one, no right to create databases: an error each, and no database more."""
    place.run("ALTER DATABASE {} ALLOW_CONNECTIONS false", closed := place.golden())
    powerless = place.as_role(place.role("LOGIN"))
    before = place.databases()
    for golden, server, error, said in (
        ("nowhere_latest", None, GoldenMissingError, "does not exist"),
        (closed, None, DatabaseError, "accepts no connections"),
        (small, powerless, DatabaseError, "may not create databases"),
    ):
        with pytest.raises(error, match=said):
            examine(place, golden, server=server)
        with pytest.raises(error, match=said):
            place.clone(golden, method=method, server=server)
    assert place.databases() == before


def test_unreachable_server_is_a_server_error(place, small):
    """A server that does not answer is the server's error, also in the clean-up behind it."""
    port = place.server.url.parameters["port"]
    gone = Server(DatabaseUrl.parse(place.server.url.text.replace(f":{port}/", ":1/")))
    with pytest.raises(ServerError, match="no PostgreSQL server answers"):
        place.clone(small, server=gone)


@pytest.mark.every_major(slow=True)
@pytest.mark.parametrize("method", ["template", "dump"])
def test_clone_is_complete_with_its_comment(place, small, patient, method):
    """The clone has its ownership comment, is complete, measured and timed; the temporary name is gone."""
    made = place.clone(small, method=method)

    assert made.method == method
    assert made.seconds > 0
    assert made.bytes > 6_000_000
    assert clone.is_complete(place.server, made.database, OWNER)
    assert not [name for name in place.databases() if name.startswith("goldentree_tmp_")]
    comment = read_comment(place.admin, made.database)
    assert comment == OwnershipComment(
        "repo", "feat_1", "clone", small, "2026-01-02T03:04:05+00:00", made.fingerprint.digest
    )


@pytest.mark.every_major(slow=True)
def test_large_golden_is_copied_whole(place, golden, patient):
    """The golden template of 121 tables and its 17 MB arrive whole, by either method."""
    for method in ("dump", "template"):
        made = place.clone(golden, method=method)

        assert place.assert_same_rows(golden, made.database, "SELECT count(*) FROM seaql_migrations") == [(297,)]
        assert place.assert_same_rows(golden, made.database, "SELECT count(*) FROM ai_agent") == [(9,)]
        assert made.bytes > 12_000_000


def test_writes_to_a_clone_stay_there(place, small):
    """What is written to one clone is neither in the other nor in golden."""
    first, second = place.clone(small), place.clone(small)
    place.execute(first.database, "INSERT INTO t VALUES (4)")

    assert place.rows(first.database, "SELECT count(*) FROM t") == [(4,)]
    assert place.assert_same_rows(small, second.database, "SELECT count(*) FROM t") == [(3,)]


def test_clone_is_dropped_with_its_sessions(place, small):
    """The worktree's clone is dropped with the sessions in it; then there is none, and golden stays."""
    made = place.clone(small)
    with place.connect(made.database):
        assert clone.drop(place.server, made.database, OWNER, golden=small)

    assert not clone.drop(place.server, made.database, OWNER, golden=small)
    assert not clone.is_complete(place.server, made.database, OWNER)
    assert small in place.databases()


def test_invalid_database_is_not_a_complete_clone(place, small):
    """An interrupted DROP DATABASE leaves the name and the comment, and nothing that could be used."""
    made = place.clone(small)
    place.admin.execute("UPDATE pg_database SET datconnlimit = %s WHERE datname = %s", [INVALID, made.database])
    assert not clone.is_complete(place.server, made.database, OWNER)


@pytest.mark.parametrize("method", ["template", "dump"])
def test_a_name_taken_by_a_stranger_meanwhile(place, small, patient, monkeypatch, method):
    """If another client takes the name during a build, its database stays, and the error names the owner."""
    before = place.databases()
    publish = strategy.publish

    def late(connection, signer, described, temporary, final, comment):
        place.golden("CREATE TABLE theirs (i int)", name=final)
        return publish(connection, signer, described, temporary, final, comment)

    monkeypatch.setattr(strategy, "publish", late)
    with pytest.raises(OwnershipError, match="database `wanted` is not ours"):
        place.clone(small, method=method, database="wanted")
    assert place.databases() == before | {"wanted"}
    assert place.rows("wanted", "SELECT count(*) FROM theirs") == [(0,)]


@pytest.mark.every_major(slow=True)
def test_two_runs_for_one_worktree_make_one_clone(place, small, meanwhile):
    """Of two runs for the same worktree one makes the clone, the other keeps it; no temporary database is left."""
    before = place.databases()
    results = []
    threads = [meanwhile(lambda: results.append(place.clone(small, database="shared"))) for _ in range(3)]
    for thread in threads:
        thread.join()

    assert sorted(made.method for made in results) == ["dump", "kept", "kept"]
    assert place.databases() == before | {"shared"}
    assert place.rows("shared", "SELECT count(*) FROM t") == [(3,)]


@pytest.mark.every_major(slow=True)
def test_clones_of_many_worktrees_succeed_at_once(place, small, meanwhile):
    """Clones for different worktrees do not get in each other's way."""
    results = []
    threads = [meanwhile(lambda: results.append(place.clone(small, method="auto"))) for _ in range(6)]
    for thread in threads:
        thread.join()

    assert len({made.database for made in results}) == 6
    assert all(place.rows(made.database, "SELECT count(*) FROM t") == [(3,)] for made in results)


# --- ends from outside -------------------------------------------------------------------------------

# A restore of minutes, after what a dump finishes at once.
SLOW = """
CREATE FUNCTION slow(i int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE TABLE t (i int CHECK (slow(i))); INSERT INTO t SELECT generate_series(1, 600);
CREATE OR REPLACE FUNCTION slow(i int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN true; END';
"""
BUILD = """
import sys
from pathlib import Path
from tasks_lib.databases.clone import clone
from tasks_lib.databases.clone.strategy import CloneOptions
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.ownership.source import Source
from tests.signing import SIGNER
from tasks_lib.databases.server.url import DatabaseUrl
url, golden, folder, method = sys.argv[1:]
source = Source(Server(DatabaseUrl.parse(url)), golden, SIGNER, Path(folder))
comment = source.new_comment("clone", slug="feat_1", created_at="now")
clone.build(source, "never", comment, CloneOptions(method))
"""


@pytest.fixture(params=["dump", "auto"])
def builder(place, eventually, request):
    """Give a process in the midst of restoring a clone, or the snapshot for it, and the temporary name of that."""
    golden = place.golden(SLOW)
    with place.connect(golden):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD, place.server.url.text, golden, place.folder, request.param],
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            restoring = (
                "SELECT datname FROM pg_stat_activity WHERE query LIKE 'COPY%' AND datname LIKE 'goldentree_tmp_%'"
            )
            (temporary,) = eventually(lambda: place.admin.execute(restoring).fetchone())
            yield process, golden, temporary
            if process.poll() is None:
                process.kill()


@pytest.mark.every_major(slow=True)
def test_interrupted_build_leaves_nothing_behind(place, builder, eventually):
    """Ctrl-C in the middle of a build ends its children and leaves nothing."""
    process, _, temporary = builder
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == -signal.SIGINT
    assert said.endswith("KeyboardInterrupt\n")
    assert not {temporary, "never"} & place.databases()
    assert not list((place.folder / "temporaries").iterdir())
    eventually(lambda: not place.sessions("psql") and not place.sessions("pg_dump"))


@pytest.mark.every_major(slow=True)
def test_killed_build_is_dropped_later(place, builder, eventually):
    """A killed build leaves only its temporary database, which the next run drops."""
    process, golden, temporary = builder
    process.kill()
    process.wait()
    assert temporary in place.databases()
    assert "never" not in place.databases()

    assert temporaries.drop_abandoned(replace(place.source(golden), signer=OTHER), place.admin) == []
    assert eventually(lambda: temporaries.drop_abandoned(place.source(golden), place.admin)) == [temporary]
    assert temporary not in place.databases()
    assert temporaries.drop_abandoned(place.source(golden), place.admin) == []


def test_cleanup_leaves_a_database_under_construction(place, builder):
    """A database that another process is still building is not dropped."""
    _, golden, temporary = builder
    assert temporaries.drop_abandoned(place.source(golden), place.admin) == []
    assert temporary in place.databases()


@pytest.mark.every_major(slow=True)
def test_session_lost_before_publishing_leaves_nothing_behind(place, small, monkeypatch):
    """A session that is lost right before publishing is an error, and the temporary database is cleaned up."""
    before = place.databases()
    publish = strategy.publish

    def severed(connection, *arguments):
        place.admin.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        return publish(connection, *arguments)

    monkeypatch.setattr(strategy, "publish", severed)
    with pytest.raises(ServerError, match="connection to the server was lost"):
        place.clone(small)
    assert place.databases() == before


def test_clone_is_refused_on_a_nearly_full_disk(place, small, monkeypatch):
    """A disk that a clone could fill is refused before anything is made: the whole server would stop."""
    monkeypatch.setattr(golden_module, "_RESERVE_BYTES", 1 << 60)
    before = place.databases()
    with pytest.raises(DatabaseError, match=r"the server's disk has \d+ MB left"):
        examine(place, small)
    with pytest.raises(DatabaseError, match=r"the server's disk has \d+ MB left"):
        place.clone(small)
    assert place.databases() == before


def test_full_disk_is_reported_with_a_hint(place, small):
    """What PostgreSQL reports for a full disk is passed on with the cure; nothing is left."""
    before = place.databases()
    place.execute(
        small,
        "CREATE FUNCTION full_disk(i int) RETURNS bool LANGUAGE plpgsql AS "
        "'BEGIN IF current_database() LIKE ''goldentree_tmp%'' THEN RAISE ''could not extend file: No space left on "
        "device'' USING ERRCODE = ''53100''; END IF; RETURN true; END'; ALTER TABLE t ADD CHECK (full_disk(i))",
    )
    with pytest.raises(CloneError) as caught:
        place.clone(small)

    assert "No space left on device" in caught.value.why
    assert "free space" in caught.value.hint
    assert place.databases() == before
