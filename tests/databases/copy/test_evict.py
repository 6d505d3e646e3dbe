"""Eviction: opt-in, only of idle sessions, and nothing to take back whatever happens."""

from __future__ import annotations

import subprocess
import sys
import threading

import psycopg
import pytest
from psycopg import sql

from tasks_lib.databases.clone.snapshot import list_snapshots
from tasks_lib.databases.copy import evict
from tasks_lib.databases.ownership.golden_template import require_golden
from tasks_lib.errors import DatabaseError

SCRIPT = "CREATE TABLE t (i int); INSERT INTO t VALUES (1)"


@pytest.fixture
def golden(place):
    return place.golden(SCRIPT)


def ended(session):
    """Whether the server has ended *session*."""
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


@pytest.mark.every_major
def test_idle_sessions_are_ended_for_the_copy(place, golden):
    """Golden is copied physically, its idle sessions are ended for that, and they can log in again at once."""
    with place.connect(golden) as session, place.connect(golden) as other:
        made = place.clone(golden, method="auto", evict_idle=True)
        assert ended(session)
        assert ended(other)
    place.execute(golden, "INSERT INTO t VALUES (2)")

    assert place.said == []
    assert place.rows(made.database, "SELECT i FROM t") == [(1,)]
    # Its fingerprint is golden's own: the copy is a physical one.
    physical = "SELECT ctid::text, xmin::text, i FROM t WHERE i = 1"
    assert place.assert_same_rows(golden, made.database, physical)


@pytest.mark.every_major
def test_template_with_eviction_copies_golden(place, golden):
    """The method `template` with eviction makes the clone of golden itself, and says so."""
    with place.connect(golden) as session:
        made = place.clone(golden, method="template", evict_idle=True)
        assert ended(session)

    assert (made.method, made.reason) == ("template", "its idle sessions were ended")
    assert place.rows(made.database, "SELECT i FROM t") == [(1,)]


def test_nobody_is_ended_for_a_snapshot_that_is_current(place, golden):
    """Where a current snapshot is there, sessions stay although they might be ended."""
    with place.connect(golden) as session:
        place.clone(golden, method="auto")
        made = place.clone(golden, method="auto", evict_idle=True)
        assert made.reason.endswith("is current")
        assert not ended(session)


@pytest.mark.every_major
@pytest.mark.parametrize(
    ("work", "state"),
    [("BEGIN; INSERT INTO t VALUES (2)", "idle in transaction"), ("SELECT pg_sleep(60)", "active")],
)
def test_work_is_never_interrupted(place, golden, eventually, work, state):
    """A session that is busy or in a transaction is refused by name; no session is ended and nothing is created."""
    before = place.databases()
    with place.connect(golden) as idle, place.connect(golden, application_name="payroll") as busy:
        busy.pgconn.send_query(work.encode())
        query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = %s"
        eventually(lambda: place.admin.execute(query, [busy.info.backend_pid, state]).fetchone())
        with pytest.raises(DatabaseError, match="is in use") as caught:
            place.clone(golden, method="auto", evict_idle=True)

        assert f"process {busy.info.backend_pid} (payroll) is {state}" in caught.value.why
        assert "or leave out --evict" in caught.value.hint
        assert place.databases() == before
        assert place.admin.execute(query, [busy.info.backend_pid, state]).fetchone()
        assert not ended(idle)
        busy.cancel_safe()
        busy.close()


def test_session_that_becomes_active_stops_the_eviction(place, golden, monkeypatch, eventually):
    """A session that goes to work after the first look is a refusal, too; nothing is left of the copy."""
    before = place.databases()
    with place.connect(golden) as session:
        look, looks = evict.require_idle, []

        def late(connection, database, **options):
            looks.append(database)
            if len(looks) == 2:
                session.execute("BEGIN; INSERT INTO t VALUES (2)")
            look(connection, database, **options)

        monkeypatch.setattr(evict, "require_idle", late)
        with pytest.raises(DatabaseError, match="is in use"):
            place.clone(golden, method="auto", evict_idle=True)
        session.execute("COMMIT")
    eventually(lambda: place.databases() == before)
    assert place.rows(golden, "SELECT i FROM t ORDER BY i") == [(1,), (2,)]


def test_sessions_that_do_not_go_in_time(place, golden, monkeypatch):
    """Where the sessions are still there when the server gives up, golden is dumped, and they stay."""
    monkeypatch.setattr(evict, "_EVICTION_SECONDS", 0)
    with place.connect(golden) as session:
        made = place.clone(golden, method="auto", evict_idle=True)
        assert not ended(session)

    assert place.said == [f'dumping {golden}, as source database "{golden}" is being accessed by other users']
    assert place.rows(made.database, "SELECT i FROM t") == [(1,)]


@pytest.mark.every_major
def test_clients_that_reconnect_do_not_stop_the_copy(place, golden, meanwhile):
    """Three clients that log in again as soon as they are thrown out: ten times out of ten the copy is made."""
    stop, logins = threading.Event(), []

    def hurry():
        while not stop.is_set():
            with place.connect(golden) as session:
                logins.append(session)
                while not stop.is_set() and not ended_silently(session):
                    pass

    def ended_silently(session):
        # A client that only listens stays idle: one that runs queries now and then could be found busy.
        try:
            for _ in session.notifies(timeout=0.01):
                pass
        except psycopg.OperationalError:
            return True
        return False

    clients = [meanwhile(hurry) for _ in range(3)]
    try:
        for i in range(10):
            made = place.clone(golden, method="template", evict_idle=True)
            assert made.method == "template", i
            assert place.rows(made.database, "SELECT i FROM t") == [(1,)]
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert len(logins) > 10


@pytest.mark.every_major
def test_session_of_an_unknown_state_is_not_ended(place, golden):
    """Of another role's session ours sees no state: that is a refusal, and the session stays."""
    owner = place.role()
    place.run("ALTER DATABASE {} OWNER TO {}", golden, owner)
    place.execute(golden, f"GRANT SELECT ON t TO {owner}")
    before = place.databases()
    with place.connect(golden) as session:
        with pytest.raises(DatabaseError, match="is in use") as caught:
            place.clone(golden, method="auto", evict_idle=True, server=place.as_role(owner))
        assert f"process {session.info.backend_pid} " in caught.value.why
        assert not ended(session)
    assert place.databases() == before


BUILD = """
import sys, time
from pathlib import Path
from tasks_lib.databases.clone import clone
from tasks_lib.databases.copy import evict
from tasks_lib.databases.clone.strategy import CloneOptions
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.ownership.source import Source
from tests.signing import SIGNER
from tasks_lib.databases.server.url import DatabaseUrl
url, golden, folder = sys.argv[1:]

def look(*_):
    time.sleep(3600)

# The copy waits for the sessions from now on, and they are never ended.
evict._end_sessions = look
source = Source(Server(DatabaseUrl.parse(url)), golden, SIGNER, Path(folder))
comment = source.new_comment("clone", slug="feat_1", created_at="now")
clone.build(source, "never", comment, CloneOptions("auto", evict_idle=True))
"""


@pytest.mark.every_major
def test_killed_eviction_leaves_golden_open(place, golden, eventually):
    """Killed while the copy waits for the sessions, nothing has to be taken back: golden is open, its session stays."""
    with place.connect(golden) as session:
        arguments = [sys.executable, "-c", BUILD, place.server.url.text, golden, place.folder]
        with subprocess.Popen(arguments) as process:
            waiting = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
            pattern = sql.Literal(f'CREATE DATABASE%TEMPLATE "{golden}"%').as_string().strip("'")
            eventually(lambda: place.admin.execute(waiting, [pattern]).fetchone())
            process.kill()
        place.execute(golden, "INSERT INTO t VALUES (2)")
        assert not ended(session)
        eventually(lambda: not place.admin.execute(waiting, [pattern]).fetchone())
        made = place.clone(golden, method="auto")

    assert place.rows(made.database, "SELECT i FROM t ORDER BY i") == [(1,), (2,)]
    assert "never" not in place.databases()
    assert len(list_snapshots(place.source(golden), place.admin, require_golden(place.admin, golden))) == 1
    assert not [name for name in place.databases() if name.startswith("goldentree_tmp_")]
