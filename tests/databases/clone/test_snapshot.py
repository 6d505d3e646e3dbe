"""Snapshots: frozen, named by what they show, used while they are current, and never anybody else's."""

from __future__ import annotations

import re
import threading
from datetime import timedelta

import psycopg
import pytest

from tasks_lib.databases.clone import cleanup, snapshot
from tasks_lib.databases.copy import template
from tasks_lib.databases.ownership.comment import OwnershipComment, read_comment
from tasks_lib.databases.ownership.golden_template import require_golden
from tasks_lib.errors import CloneError, DatabaseError, GoldentreeError
from tests.signing import OTHER

HOUR = timedelta(hours=1)
CURRENT = r"snapshot of \d\d:\d\d is current"
TAKEN = r"snapshot of \d\d:\d\d was taken just now"


@pytest.fixture
def busy(place):
    """Give a golden template that an application is connected to, and its session there."""
    golden = place.golden("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    with place.connect(golden) as session:
        yield golden, session


def kept(place, golden):
    """Return this repository's snapshots of *golden*, the newest first."""
    return snapshot.list_snapshots(place.source(golden), place.admin, require_golden(place.admin, golden))


def auto(place, golden, **wish):
    """Clone *golden* and return the clone, its rows in `t`, and whether a dump was made for it."""
    place.said.clear()
    made = place.clone(golden, method="auto", **wish)
    rows = [i for (i,) in place.rows(made.database, "SELECT i FROM t ORDER BY i")]
    return made, rows, any(said.startswith("dumping") for said in place.said)


def tidied(place, golden):
    """Tidy up as a process in the background does after a clone was made, and return the names of what was dropped."""
    return cleanup.clean_up(place.source(golden), 0, place.said.append).dropped


def drop(place, name):
    """Drop the snapshot *name*."""
    place.run("ALTER DATABASE {} IS_TEMPLATE false", name)
    place.run("DROP DATABASE {}", name)


def temporaries(place):
    return [name for name in place.databases() if name.startswith("goldentree_tmp_")]


@pytest.mark.every_major(slow=True)
def test_snapshot_accepts_no_connections_and_is_ours(place, busy):
    """A snapshot is a template without connections, has our ownership comment, and is named by its fingerprint."""
    golden, _ = busy
    made, rows, dumped = auto(place, golden)

    assert (made.method, rows, dumped) == ("snapshot", [1], True)
    assert re.fullmatch(TAKEN, made.reason)
    (taken,) = kept(place, golden)
    assert place.admin.execute(
        "SELECT datistemplate, datallowconn FROM pg_database WHERE datname = %s", [taken.name]
    ).fetchone() == (True, False)
    comment = OwnershipComment("repo", "", "snapshot", golden, taken.taken_at.isoformat(), made.fingerprint.digest)
    assert read_comment(place.admin, taken.name) == comment
    assert len(made.fingerprint.digest) == 64
    assert f"_{made.fingerprint.digest[:16]}" in taken.name
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        place.connect(taken.name)
    assert not temporaries(place)


@pytest.mark.every_major(slow=True)
def test_second_clone_copies_the_snapshot(place, busy):
    """While golden stays as it is, clones are copies of the snapshot, and golden's sessions stay."""
    golden, session = busy
    first, *_ = auto(place, golden)
    (taken,) = kept(place, golden)
    for _ in range(2):
        made, rows, dumped = auto(place, golden)
        assert (made.method, rows, dumped) == ("snapshot", [1], False)
        assert made.reason == f"snapshot of {taken.time} is current"
        assert made.fingerprint.digest == first.fingerprint.digest
    assert kept(place, golden) == [taken]
    assert session.execute("SELECT i FROM t").fetchall() == [(1,)]


@pytest.mark.every_major(slow=True)
def test_change_of_golden_replaces_the_snapshot(place, busy):
    """What an open session has just committed is in the next clone; the old snapshot goes when the new one is there."""
    golden, session = busy
    auto(place, golden)
    (old,) = kept(place, golden)
    session.execute("INSERT INTO public.t VALUES (2)")
    made, rows, dumped = auto(place, golden)

    assert (rows, dumped) == ([1, 2], True)
    assert re.fullmatch(TAKEN, made.reason)
    assert [snapshot.name for snapshot in kept(place, golden)[1:]] == [old.name]
    assert tidied(place, golden) == [old.name]
    (new,) = kept(place, golden)
    assert new.taken_at > old.taken_at
    assert old.name not in place.databases()
    _, rows, dumped = auto(place, golden)
    assert (rows, dumped) == ([1, 2], False)


def test_failed_refresh_keeps_the_old_snapshot(place, busy):
    """A refresh that fails leaves the snapshot before it, which is taken again as soon as it is current or allowed."""
    golden, session = busy
    auto(place, golden)
    (old,) = kept(place, golden)
    session.execute(
        "CREATE FUNCTION fails(i int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN "
        "IF current_database() LIKE ''goldentree_tmp_%'' THEN RAISE ''not here''; END IF; RETURN true; END'; "
        "ALTER TABLE t ADD CHECK (fails(i))"
    )
    with pytest.raises(CloneError, match="psql exited with"):
        auto(place, golden)

    assert kept(place, golden) == [old]
    assert not temporaries(place)
    _, rows, dumped = auto(place, golden, max_age=HOUR)
    assert (rows, dumped) == ([1], False)
    session.execute("ALTER TABLE t DROP CONSTRAINT t_i_check")
    _, rows, dumped = auto(place, golden)
    assert (rows, dumped) == ([1], True)
    assert kept(place, golden)[0] != old


@pytest.mark.every_major(slow=True)
def test_snapshot_in_use_is_dropped_later(place, busy, meanwhile, eventually):
    """An old snapshot that another process is just copying stays, and goes the next time."""
    golden, session = busy
    auto(place, golden)
    (old,) = kept(place, golden)
    session.execute("INSERT INTO public.t VALUES (2)")
    place.made.append(copy := f"{golden}_copy")
    with place.connect("postgres") as other, other.transaction():
        # Another CREATE DATABASE has the lock on its original by the time that it waits for the name.
        other.execute(f"ALTER DATABASE {place.golden()} RENAME TO {copy}")
        copying = meanwhile(lambda: place.execute("postgres", f"CREATE DATABASE {copy} TEMPLATE {old.name}"))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE query LIKE %s AND wait_event_type = 'Lock'"
        eventually(lambda: place.admin.execute(waiting, [f"CREATE DATABASE {copy} %"]).fetchone())
        _, rows, _ = auto(place, golden)
        assert rows == [1, 2]
        assert tidied(place, golden) == []
        assert old in kept(place, golden)
        raise psycopg.Rollback
    copying.join()
    assert place.rows(copy, "SELECT i FROM t") == [(1,)]
    assert tidied(place, golden) == [old.name]
    assert len(kept(place, golden)) == 1


@pytest.mark.every_major(slow=True)
def test_fresh_reads_golden_again_always(place, busy):
    """`fresh` reads golden again although the snapshot is current."""
    golden, _ = busy
    auto(place, golden)
    (old,) = kept(place, golden)
    made, rows, dumped = auto(place, golden, fresh=True)

    assert (rows, dumped) == ([1], True)
    assert re.fullmatch(TAKEN, made.reason)
    assert kept(place, golden)[0].taken_at > old.taken_at
    made, _, dumped = auto(place, golden)
    assert not dumped
    assert re.fullmatch(CURRENT, made.reason)


@pytest.mark.every_major(slow=True)
def test_old_snapshot_is_used_within_max_age(place):
    """An old snapshot is taken where that is allowed, without a session in golden; not one that is older still."""
    role = place.role()
    server = place.as_role(role)
    golden = place.golden(f"CREATE TABLE t AS SELECT 1 AS i; GRANT SELECT ON t TO {role}", owner=role)
    with place.connect(golden) as session:
        auto(place, golden, server=server)
        session.execute("INSERT INTO public.t VALUES (2)")
        place.run("ALTER DATABASE {} CONNECTION LIMIT 0", golden)

        made, rows, dumped = auto(place, golden, server=server, max_age=HOUR)
        assert (made.method, rows, dumped) == ("snapshot", [1], False)
        assert re.fullmatch(r"snapshot of \d\d:\d\d is younger than WORKTREE_GOLDEN_MAX_AGE", made.reason)
        with pytest.raises(GoldentreeError) as caught:
            auto(place, golden, server=server)
        assert "too many connections for database" in caught.value.why
        place.run("ALTER DATABASE {} CONNECTION LIMIT -1", golden)
        _, rows, dumped = auto(place, golden, server=server, max_age=timedelta(microseconds=1))
        assert (rows, dumped) == ([1, 2], True)


# --- whose -------------------------------------------------------------------------------------------


@pytest.mark.every_major(slow=True)
def test_snapshots_belong_to_one_repository(place, busy):
    """Repositories that share a golden template have snapshots of their own, and drop only those."""
    golden, session = busy
    auto(place, golden)
    (ours,) = kept(place, golden)
    place.signer, place.folder = OTHER, place.folder.with_name("another")
    assert kept(place, golden) == []
    for i in (2, 3):
        _, _, dumped = auto(place, golden)
        assert dumped
        session.execute(f"INSERT INTO t VALUES ({i})")
    tidied(place, golden)
    (theirs,) = kept(place, golden)

    assert {ours.name, theirs.name} <= place.databases()
    assert read_comment(place.admin, ours.name).repository == "repo"


@pytest.mark.parametrize("fresh", [False, True])
def test_snapshot_with_an_edited_comment_is_left_alone(place, busy, fresh):
    """A snapshot whose ownership comment was changed is neither copied nor commented nor dropped, whatever its name."""
    golden, session = busy
    auto(place, golden)
    (taken,) = kept(place, golden)
    place.run(f"ALTER DATABASE {taken.name} ALLOW_CONNECTIONS true; COMMENT ON DATABASE {taken.name} IS 'mine now'")
    place.execute(taken.name, "INSERT INTO t VALUES (99)")
    for rows_then in ([1], [1, 2]):
        _, rows, _ = auto(place, golden, fresh=fresh)
        assert rows == rows_then
        session.execute("INSERT INTO public.t VALUES (2)")
    auto(place, golden, fresh=fresh)
    tidied(place, golden)

    comment = place.admin.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [taken.name]
    ).fetchone()
    assert comment == ("mine now",)
    assert place.rows(taken.name, "SELECT i FROM t ORDER BY i") == [(1,), (99,)]


@pytest.mark.every_major(slow=True)
def test_strangers_database_is_not_used_as_a_snapshot(place, busy):
    """A database that happens to have the next snapshot's name is never copied, relabelled or dropped."""
    golden, _ = busy
    auto(place, golden)
    (taken,) = kept(place, golden)
    drop(place, taken.name)
    stranger = place.golden("CREATE TABLE t AS SELECT 99 AS i", name=taken.name)
    for _ in range(2):
        _, rows, _ = auto(place, golden)
        assert rows == [1]
        tidied(place, golden)

    assert read_comment(place.admin, stranger) is None
    assert place.rows(stranger, "SELECT i FROM t") == [(99,)]


@pytest.mark.every_major(slow=True)
def test_recreated_golden_has_no_snapshot(place, busy):
    """A golden that was dropped and made again under its name has nothing to do with the snapshots of the first."""
    golden, session = busy
    auto(place, golden)
    (old,) = kept(place, golden)
    session.close()
    place.run("DROP DATABASE {}", golden)
    place.golden("CREATE TABLE t AS SELECT 7 AS i", name=golden)

    for wish in ({"max_age": HOUR}, {}, {"fresh": True}):
        _, rows, _ = auto(place, golden, **wish)
        assert rows == [7]
    tidied(place, golden)
    assert old.name not in place.databases()


# --- changes in golden during a clone ----------------------------------------------------------------


@pytest.mark.every_major(slow=True)
def test_rows_committed_after_the_snapshot_are_cloned(place, busy):
    """A row whose transaction was open while the snapshot was taken is in the first clone after its commit."""
    golden, session = busy
    with session.transaction():
        session.execute("INSERT INTO public.t VALUES (2)")
        _, rows, _ = auto(place, golden)
        assert rows == [1]
        made, rows, _ = auto(place, golden)
        assert rows == [1]
        assert re.fullmatch(CURRENT, made.reason)
    _, rows, _ = auto(place, golden)
    assert rows == [1, 2]


def test_committed_prepared_rows_are_cloned(own):
    """A row of a prepared transaction is in the first clone after COMMIT PREPARED, and golden is dumped until then."""
    golden = own.golden("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    own.execute(golden, "BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'half'")
    for expected in (True, False):
        _, rows, dumped = auto(own, golden)
        assert (rows, dumped) == ([1], expected)
    own.execute(golden, "COMMIT PREPARED 'half'")
    _, rows, _ = auto(own, golden)
    assert rows == [1, 2]


@pytest.mark.every_major(slow=True)
def test_moving_sequence_does_not_stop_the_clone(place, meanwhile):
    """A sequence that moves while golden is read: the clone's is ahead of its rows, and cloning comes to an end."""
    golden = place.golden("CREATE TABLE t (i serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES")
    stop = threading.Event()

    def insert():
        with place.connect(golden) as session:
            while not stop.is_set():
                session.execute("INSERT INTO t DEFAULT VALUES")

    writing = meanwhile(insert)
    try:
        for _ in range(3):
            made, rows, _ = auto(place, golden)
            assert made.method == "snapshot"
            assert rows
            place.execute(made.database, "INSERT INTO t DEFAULT VALUES")
    finally:
        stop.set()
        writing.join()
    made, rows, _ = auto(place, golden)
    assert place.assert_same_rows(golden, made.database, "SELECT last_value, is_called FROM t_i_seq")
    assert place.assert_same_rows(golden, made.database, "SELECT count(*) FROM t") == [(len(rows),)]


def test_a_database_that_takes_a_snapshots_name_is_not_cloned(place, busy, monkeypatch):
    """Another role can create it as soon as the snapshot was dropped, and before it is copied."""
    golden, session = busy
    auto(place, golden)
    copy, gone = template.copy, []

    def late(connection, described, temporary, *, snapshot=None, oid=0):
        if snapshot is not None and not gone:
            gone.append(snapshot)
            drop(place, snapshot)
            place.golden("CREATE TABLE t AS SELECT 99 AS i", name=snapshot, owner=place.role())
        copy(connection, described, temporary, snapshot=snapshot, oid=oid)

    monkeypatch.setattr(template, "copy", late)
    _, rows, _ = auto(place, golden)
    assert rows == [1]
    assert gone
    assert not temporaries(place)
    session.execute("SELECT 1")


@pytest.mark.every_major(slow=True)
@pytest.mark.parametrize("times", [1, 100])
def test_vanished_snapshot_is_replaced_once(place, busy, monkeypatch, times):
    """A snapshot that another process drops before the copy is replaced once; a second one is a clear error."""
    golden, session = busy
    auto(place, golden)
    copy, gone = template.copy, []

    def late(connection, described, temporary, *, snapshot=None, oid=0):
        if snapshot is not None and len(gone) < times:
            gone.append(snapshot)
            drop(place, snapshot)
        copy(connection, described, temporary, snapshot=snapshot, oid=oid)

    monkeypatch.setattr(template, "copy", late)
    session.execute("INSERT INTO public.t VALUES (2)")
    if times == 1:
        _, rows, _ = auto(place, golden)
        assert rows == [1, 2]
    else:
        with pytest.raises(CloneError, match="changes faster than it can be cloned"):
            auto(place, golden)
    assert gone
    assert not temporaries(place)


@pytest.mark.every_major(slow=True)
@pytest.mark.parametrize("wish", [{}, {"fresh": True}, {"max_age": HOUR}])
def test_half_dropped_snapshot_is_replaced(place, busy, wish):
    """What an interrupted DROP DATABASE leaves cannot be copied; it is replaced."""
    golden, _ = busy
    auto(place, golden)
    (taken,) = kept(place, golden)
    # Two steps of ours and the server's (dropdb, dbcommands.c): then the files go, and then the row.
    place.admin.execute(
        "UPDATE pg_database SET datistemplate = false, datconnlimit = -2 WHERE datname = %s", [taken.name]
    )
    _, rows, _ = auto(place, golden, **wish)
    tidied(place, golden)

    assert rows == [1]
    assert len(kept(place, golden)) == 1


# --- what our role may not ---------------------------------------------------------------------------


@pytest.mark.every_major(slow=True)
def test_golden_of_another_role_is_dumped_once(place):
    """A role that does not own golden has snapshots too, and clones that it can use."""
    server = place.as_role(place.role())
    golden = place.golden("CREATE TABLE t AS SELECT 1 AS i; GRANT SELECT ON t TO PUBLIC")
    for expected in (True, False):
        made, rows, dumped = auto(place, golden, server=server)
        assert (made.method, rows, dumped) == ("snapshot", [1], expected)
    with server.connect(made.database) as session:
        session.execute("INSERT INTO public.t VALUES (2)")


def test_golden_without_a_fingerprint_is_dumped(place):
    """Where our role may not read all that the fingerprint needs, golden is dumped, and the reason says why."""
    role = place.role()
    server = place.as_role(role)
    golden = place.golden(owner=role)
    with server.connect(golden) as session:
        session.execute("CREATE TABLE public.t AS SELECT lo_from_bytea(4711, 'large')::int - 4710 AS i")
        made, rows, dumped = auto(place, golden, server=server)

        assert (made.method, made.fingerprint.digest, rows, dumped) == ("dump", "", [1], True)
        assert made.reason == (
            f"no snapshot could be proven current: role {role} may not read `pg_catalog.pg_largeobject`"
        )
        assert f"dumping {golden}, as {made.reason}" in place.said
        assert kept(place, golden) == []
        # Who accepts a snapshot of some age needs no fingerprint.
        for expected in (True, False):
            made, rows, dumped = auto(place, golden, server=server, max_age=HOUR)
            assert (made.method, made.fingerprint.digest, rows, dumped) == ("snapshot", "", [1], expected)
            assert place.rows(made.database, "SELECT lo_get(4711)") == [(b"large",)]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("", "permission denied for table hidden|missing: table public.hidden"),
        ("GRANT SELECT ON hidden TO PUBLIC; ALTER TABLE hidden ENABLE ROW LEVEL SECURITY", "row-level security"),
    ],
)
def test_hidden_rows_fail_the_clone(place, script, said):
    """Where rows are hidden from our role, there is an error and no clone: never one without them."""
    server = place.as_role(place.role())
    golden = place.golden(f"CREATE TABLE hidden AS SELECT 1 AS i; {script}")
    before = place.databases()
    for wish in ({}, {"fresh": True}, {"max_age": HOUR}):
        with pytest.raises(DatabaseError) as caught:
            place.clone(golden, method="auto", server=server, **wish)
        assert re.search(said, f"{caught.value} {caught.value.why}")
    assert place.databases() == before


def test_whoever_holds_the_turn_to_take_a_snapshot_keeps_nobody_from_a_clone(place, busy, monkeypatch, capsys):
    """A stopped process, or a role that is in the way: golden itself is dumped, after a word about the holder."""
    golden, _ = busy
    monkeypatch.setattr("tasks_lib.waits.QUIET_SECONDS", 0.05)
    monkeypatch.setattr("tasks_lib.databases.ownership.advisory_lock.PATIENCE_SECONDS", 0.3)
    source, mallory = place.source(golden), place.as_role(place.role())
    key = source.signer.lock_key(source.prefix("snapshot", place.oid(golden)))
    with mallory.connect() as squatter:
        squatter.execute("SELECT pg_advisory_lock(%s)", [key])
        made, rows, dumped = auto(place, golden)
        assert (made.method, rows, dumped, kept(place, golden)) == ("dump", [1], True, [])
        with pytest.raises(DatabaseError, match=f"session {squatter.info.backend_pid} ") as caught:
            snapshot.ensure_snapshot(source, place.said.append, fresh=True, evict_idle=False)
        assert "administrator" in str(caught.value)
        said = capsys.readouterr().err
        assert f"waiting to take a snapshot of {golden} for session {squatter.info.backend_pid} (role_" in said


def test_a_snapshot_that_takes_long_is_waited_for_while_it_grows(place, busy, monkeypatch, meanwhile):
    """The others do not lose patience with a dump, and use what it makes."""
    golden, _ = busy
    place.execute(golden, "INSERT INTO t SELECT generate_series(2, 800000)")
    monkeypatch.setattr("tasks_lib.waits.QUIET_SECONDS", 0.02)
    monkeypatch.setattr("tasks_lib.databases.ownership.advisory_lock.PATIENCE_SECONDS", 0.8)
    dumping = threading.Event()
    place.said = _Told(dumping.set)
    meanwhile(lambda: place.clone(golden, method="auto"))
    assert dumping.wait(30)
    assert place.clone(golden, method="auto").method == "snapshot"


class _Told(list):
    """What is said; the first "dumping" calls *then*."""

    def __init__(self, then):
        super().__init__()
        self.then = then

    def append(self, text):
        super().append(text)
        if text.startswith("dumping"):
            self.then()
