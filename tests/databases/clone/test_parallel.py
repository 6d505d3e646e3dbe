"""Many at once: clones made by several processes are all right, and share the work."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import contextmanager

import pytest

from tasks_lib.databases.clone.snapshot import list_snapshots
from tasks_lib.databases.ownership.golden_template import require_golden
from tests import forks

pytestmark = pytest.mark.every_major(slow=True)

BUILD = """
import sys
from pathlib import Path
from tasks_lib.databases.clone import clone
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.ownership.source import Source
from tests.signing import SIGNER
from tasks_lib.databases.server.url import DatabaseUrl
url, golden, folder, database = sys.argv[1:]
source = Source(Server(DatabaseUrl.parse(url)), golden, SIGNER, Path(folder))
comment = source.new_comment("clone", slug=database, created_at="2026-01-02T03:04:05+00:00")
made = clone.build(source, database, comment, report=print)
print(made.method, made.reason, sep=": ")
"""
MANY = 8


@contextmanager
def building(place, golden, count=MANY):
    """Build *count* clones around the body, each in a process of its own; give what they said, by name, at its end."""
    processes, said = {}, {}
    for _ in range(count):
        place.made.append(name := f"clone_{secrets.token_hex(4)}")
        processes[name] = forks.python(BUILD, place.server.url.text, golden, place.folder, name)
    yield said
    for name, process in processes.items():
        status, output, errors = process.wait()
        assert status == 0, errors
        said[name] = output.splitlines()


def nothing_is_left(place):
    return not [name for name in place.databases() if name.startswith("goldentree_tmp_")] and not list(
        (place.folder / "temporaries").iterdir()
    )


def test_eight_clones_share_one_refresh(place):
    """Eight at once with a stale snapshot: all succeed with golden's rows, and golden is dumped once."""
    golden = place.golden("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
    with place.connect(golden) as session:
        place.clone(golden, method="auto")
        session.execute("INSERT INTO t VALUES (1001)")
        with building(place, golden) as said:
            pass
        session.execute("SELECT 1")
        # The outdated one, and one more.
        assert len(list_snapshots(place.source(golden), place.admin, require_golden(place.admin, golden))) == 2

    assert sum(line.startswith("dumping") for lines in said.values() for line in lines) == 1
    for name, lines in said.items():
        assert lines[-1].startswith("snapshot: ")
        assert place.assert_same_rows(golden, name, "SELECT count(*), sum(i) FROM t")
    assert nothing_is_left(place)


def test_eight_builds_at_once_succeed(place):
    """Eight builds at once from an idle golden template all succeed, with its rows."""
    golden = place.golden("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
    with building(place, golden) as said:
        pass

    for name, lines in said.items():
        assert lines[-1].startswith(("template: ", "snapshot: "))
        assert place.assert_same_rows(golden, name, "SELECT count(*), sum(i) FROM t")
    assert nothing_is_left(place)


def test_clones_show_one_moment_of_a_written_golden(place, meanwhile):
    """Eight at once while a writer commits without pause: each clone shows one moment, and none before its start."""
    golden = place.golden("CREATE TABLE a (i int); CREATE TABLE b (i int)")
    stop, committed = threading.Event(), []

    def write():
        with place.connect(golden) as session:
            while not stop.is_set():
                number = len(committed)
                with session.transaction():
                    session.execute(f"INSERT INTO a VALUES ({number})")
                    session.execute(f"INSERT INTO b VALUES ({number})")
                committed.append(number)

    writer = meanwhile(write)
    try:
        while len(committed) < 10:
            time.sleep(0.01)
        before = len(committed)
        with building(place, golden) as said:
            pass
    finally:
        stop.set()
        writer.join()

    for name in said:
        ((rows,),) = place.rows(name, "SELECT count(*) FROM a")
        assert before <= rows <= len(committed)
        assert place.rows(name, "SELECT count(*), max(i) FROM b") == [(rows, rows - 1)]
    assert nothing_is_left(place)


def test_logins_to_golden_are_quick_during_fifty_clones(place, meanwhile, record_property):
    """A session on golden survives fifty clones, and no login to golden waits for long."""
    golden = place.golden("CREATE TABLE t AS SELECT generate_series(1, 100) AS i")
    stop, waited = threading.Event(), []

    def log_in():
        while not stop.is_set():
            started = time.monotonic()
            place.connect(golden).close()
            waited.append(time.monotonic() - started)

    with place.connect(golden) as session:
        visitor = meanwhile(log_in)
        try:
            for _ in range(50):
                made = place.clone(golden, method="auto")
                place.run("DROP DATABASE {}", made.database)
        finally:
            stop.set()
            visitor.join()
        assert session.execute("SELECT count(*) FROM t").fetchone() == (100,)

    record_property("longest login in seconds", max(waited))
    print(f"{len(waited)} logins, the longest took {max(waited):.3f} s")
    assert max(waited) < 3
    assert len(place.said) == 1
