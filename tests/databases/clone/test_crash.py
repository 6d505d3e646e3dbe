"""
Crash safety: a build that dies at any message to the server damages nothing, and the next build works.

A process that builds a clone is killed as soon as it has sent its k-th message, so that the server goes on without it;
or the session is ended right before that message, so that the process goes on without the server. Every fourth
message is tried, with `--every-point` each of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tasks_lib.databases.clone import cleanup
from tasks_lib.databases.ownership import temporaries
from tasks_lib.databases.server.embedded.cluster import Cluster
from tasks_lib.databases.server.sessions import await_no_sessions
from tasks_lib.databases.server.waiting.connection import WatchedConnection

# Forks for every build, as starting Python costs more than a build does.
STRUCK = """
import json, os, re, signal, sys, threading, traceback
from pathlib import Path

import psycopg

from tasks_lib.databases.clone import clone
from tasks_lib.databases.clone import cleanup
from tasks_lib.databases.clone.strategy import CloneOptions
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.ownership.source import Source
from tests.signing import SIGNER
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.databases.server.waiting.connection import WatchedConnection
from tasks_lib.errors import GoldentreeError

url, golden, folder = sys.argv[1:]
source = Source(Server(DatabaseUrl.parse(url)), golden, SIGNER, Path(folder))
# All that waits for an answer: statements, and what a transaction sends at its ends.
wait, lock = WatchedConnection.wait, threading.Lock()
QUIET = re.compile(r"\\s*(SELECT|SET|RESET|BEGIN|_enter_gen)(?!.*(advisory|terminate|export))", re.DOTALL)
points, before, polled, struck = 0, None, None, False


def is_struck(connection, text):
    global points, before, polled, struck
    with lock:
        # To die between two questions is the same as to die before the first: nothing outside of the session changed.
        # So it is between two of those that wait for something and ask again and again.
        quiet = QUIET.match(text) is not None or text == polled
        polled = text if "terminate" in text else polled
        points += not (quiet and (connection, True) == before)
        before = (connection, quiet)
        hit = points == job["at"] if isinstance(job["at"], int) else job["at"] in text
        struck, first = struck or hit, hit and not struck
        return first


def striking(connection, generator, *arguments, **options):
    query = generator.gi_frame.f_locals.get("query", generator.__name__)
    text = query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string()
    if is_struck(connection, text):
        blow, backend = job["blow"], connection.info.backend_pid
        if blow == "kill":
            next(generator)  # sends the message
            os.kill(os.getpid(), signal.SIGKILL)
        elif blow == "terminate":
            with psycopg.connect(url) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
        elif blow == "backend":
            threading.Timer(0.003, os.kill, [backend, signal.SIGKILL]).start()
        else:
            threading.Timer(0.003, os.kill, [job["postmaster"], signal.SIGQUIT]).start()
    return wait(connection, generator, *arguments, **options)


WatchedConnection.wait = striking
for line in sys.stdin:
    job = json.loads(line)
    if not (pid := os.fork()):
        try:
            comment = source.new_comment("clone", slug="feat_1", created_at="2026-01-02T03:04:05+00:00")
            more = {"removed_at": "2026-01-02T03:04:05+00:00"} if job["how"] == "rebuild" else {}
            getattr(clone, job["how"])(source, "final", comment, CloneOptions(**job["options"]), **more)
            cleanup.clean_up(source, 0, lambda _: None)
            os._exit(struck)
        except GoldentreeError:
            os._exit(2)
        except BaseException:
            traceback.print_exc()
            os._exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
MISSED, DONE, FAILED, KILLED = 0, 1, 2, -9
"""How a build ended: nothing struck it; it was struck and done all the same; with an error of ours; and killed."""


@contextmanager
def striking(place, golden):
    """Give a function that builds the clone `final` of *golden* in a process that is struck, and tells how it ended."""
    arguments = [sys.executable, "-c", STRUCK, place.server.url.text, golden, place.folder]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def strike(at, blow, **job):
            process.stdin.write(json.dumps({"at": at, "blow": blow, "how": "build", "options": {}, **job}) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield strike
        process.stdin.close()


class Golden:
    """A golden template, its rows, and the session that an application has in it."""

    def __init__(self, place):
        self.place = place
        self.name = place.golden("CREATE TABLE t (i int)")
        self.rows = []
        self.session = None
        self.left = place.folder / "temporaries"
        place.made.append("final")

    def connect(self):
        if self.session:
            self.session.close()
        self.session = self.place.connect(self.name)

    def add(self):
        self.rows.append(len(self.rows))
        # Disposable servers do not wait for the disk: a crash would take the row back.
        self.place.execute(self.name, f"SET synchronous_commit = on; INSERT INTO t VALUES ({self.rows[-1]})")

    def rows_of(self, database):
        with self.place.connect(database, connect_timeout=5) as connection:
            return sorted(i for (i,) in connection.execute("SELECT i FROM t"))

    def check(self, eventually):
        """Assert that golden is intact, that the next build works, and that the one after a crash drops leftovers."""
        place, allowed = self.place, "SELECT datallowconn FROM pg_database WHERE datname = %s"
        assert self.rows_of(self.name) == self.rows
        assert place.admin.execute(allowed, [self.name]).fetchone() == (True,)
        if "final" in place.databases():
            assert self.rows_of("final") == self.rows
            place.run("DROP DATABASE final")
        place.clone(self.name, method="auto", database="final")
        assert self.rows_of("final") == self.rows
        place.run("DROP DATABASE final")
        eventually(self.is_swept)
        source = place.source(self.name)
        cleanup.clean_up(source, 0, place.said.append)
        assert len(source.list_copies(place.admin, "snapshot", place.oid(self.name))) <= 1

    def is_swept(self):
        """Clean up, and return whether anything is left; what the server is still busy with counts for a moment."""
        temporaries.drop_abandoned(self.place.source(self.name), self.place.admin)
        locks = self.place.admin.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'").fetchall()
        databases = [name for name in self.place.databases() if name.startswith("goldentree_tmp_")]
        return not databases and not locks and not list(self.left.iterdir())


@pytest.fixture
def golden(place):
    golden = Golden(place)
    yield golden
    if golden.session:
        golden.session.close()


@pytest.mark.every_major(slow=True)
@pytest.mark.parametrize("blow", ["kill", "terminate"])
@pytest.mark.parametrize("scenario", ["refresh", "fresh", "current", "idle", "evict"])
def test_build_dying_anywhere_damages_nothing(place, golden, eventually, request, scenario, blow):
    """At whichever message a build dies, golden is open and intact, the next build works, and leftovers are dropped."""
    options = {"fresh": {"fresh": True}, "evict": {"method": "template", "evict_idle": True}}.get(scenario, {})
    golden.add()
    if scenario != "idle":
        golden.connect()
        place.clone(golden.name, method="auto", database="final")
        place.run("DROP DATABASE final")
    at, ends = 0, []
    # `fresh` differs from `refresh` in where it begins, and the majors in few statements.
    step = 1 if request.config.getoption("--every-point") else 4
    step *= (1 if place.admin.info.server_version >= 180_000 else 3) * (2 if scenario == "fresh" else 1)
    with striking(place, golden.name) as strike:
        while not ends or ends[-1] != MISSED:
            at += step
            if scenario in ("refresh", "idle"):
                golden.add()
            if scenario == "idle":
                await_no_sessions(place.admin, golden.name)
            ends.append(strike(at, blow, options=options))
            if scenario == "evict":
                golden.connect()
            if golden.session:
                golden.session.execute("SELECT 1")
            golden.check(eventually)
    assert set(ends[:-1]) <= ({KILLED} if blow == "kill" else {FAILED, DONE})
    assert len(ends) > 10 // step


@pytest.mark.every_major(slow=True)
@pytest.mark.parametrize("blow", ["kill", "terminate"])
def test_crash_of_a_reset_leaves_a_complete_clone(place, golden, eventually, request, blow):
    """At whichever message a reset dies, the complete old clone or the complete new one has the name."""
    golden.add()
    golden.connect()
    place.clone(golden.name, method="auto", database="final")
    step = 1 if request.config.getoption("--every-point") else 4 if place.admin.info.server_version >= 180_000 else 12
    at, ends, olds = 0, [], 0
    with striking(place, golden.name) as strike:
        while not ends or ends[-1] != MISSED:
            at += step
            place.execute("final", "DELETE FROM t WHERE i < 0; INSERT INTO t VALUES (-1)")
            ends.append(strike(at, blow, how="rebuild"))
            rows = golden.rows_of("final")
            parked = [name for name in place.databases() if name.startswith("final_parked_")]
            assert rows == ([*golden.rows] if parked else [-1, *golden.rows])
            assert parked or ends[-1] not in {DONE, MISSED}
            olds += not parked
            for name in parked:
                place.run("DROP DATABASE {}", name)
            eventually(golden.is_swept)
    assert set(ends[:-1]) <= ({KILLED} if blow == "kill" else {FAILED, DONE})
    assert 0 < olds < len(ends)


# --- the server itself -------------------------------------------------------------------------------


@pytest.mark.every_major(slow=True)
@pytest.mark.parametrize("blow", ["backend", "server"])
def test_server_crash_loses_only_the_refresh(own, programs, eventually, blow):
    """A server crash during a refresh loses only the refresh: golden is intact, and leftovers are dropped."""
    (data,) = own.admin.execute("SHOW data_directory").fetchone()
    cluster = Cluster(Path(data).parent, durable=False, binaries=programs)

    def reached():
        with suppress(psycopg.OperationalError):
            own.admin = own.connect("postgres")
            return True

    golden = Golden(own)
    golden.add()
    golden.connect()
    with striking(own, golden.name) as strike:
        for at in ("CREATE DATABASE", "pg_export_snapshot", "ANALYZE", "ALLOW_CONNECTIONS", "RENAME", "DROP DATABASE"):
            own.clone(golden.name, method="auto", database="final")
            own.run("DROP DATABASE final")
            golden.add()
            end = strike(at, blow, postmaster=cluster.status().pid)
            assert end in {FAILED, DONE}, at
            own.admin.close()
            cluster.start()
            eventually(reached)
            golden.connect()
            golden.check(eventually)
    golden.session.close()
    own.admin.close()


def test_cleanup_by_others_keeps_a_build_on_record(place, monkeypatch):
    """A database under construction stays on record while another process cleans up, because it may be killed later."""
    source = place.source(place.golden())
    wait, sweeping = WatchedConnection.wait, []

    def swept(connection, *arguments, **options):
        if not sweeping:
            sweeping.append(True)
            with place.server.connect() as other:
                temporaries.drop_abandoned(source, other)
            sweeping.clear()
        return wait(connection, *arguments, **options)

    monkeypatch.setattr(WatchedConnection, "wait", swept)
    with temporaries.temporary_database(source, place.admin) as name:
        assert (place.folder / "temporaries" / name).exists()
    assert not list((place.folder / "temporaries").iterdir())
