"""Method `template`: a physical copy of an idle golden, which never makes a login wait for long."""

from __future__ import annotations

import threading
import time

import pytest
from psycopg import errors

from tasks_lib.databases.copy import template
from tasks_lib.databases.ownership.drop import new_temporary_name
from tasks_lib.databases.ownership.golden_template import require_golden
from tasks_lib.errors import CloneError

pytestmark = pytest.mark.every_major


@pytest.mark.parametrize("method", ["auto", "template"])
def test_an_idle_golden_is_copied(place, patient, method):
    """If no session is connected, the copy is physical: owners, statistics, even what a dump cannot carry."""
    owner = place.role()
    golden = place.golden(
        "CREATE EXTENSION pg_trgm VERSION '1.3'; CREATE TABLE t AS SELECT generate_series(1, 9) AS i; ANALYZE t; "
        "ALTER EXTENSION pg_trgm ADD TABLE t; CREATE UNLOGGED TABLE u AS SELECT 1 AS i",
        name='gold "%s" Ünï',
        owner=owner,
    )
    place.run("ALTER DATABASE {} SET search_path = a, public", golden)
    place.run("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", golden)
    made = place.clone(golden, method=method)

    assert (made.method, made.reason, made.warnings) == ("template", "no session is connected to golden", ())
    assert place.schema(made.database) == place.schema(golden)
    for query in (
        "SELECT ctid::text, xmin::text, i FROM t",
        "SELECT i FROM u",
        "SELECT extname, extversion FROM pg_extension ORDER BY 1",
        "SELECT count(*) FROM pg_stats WHERE tablename = 't'",
        "SELECT datdba::regrole::text, datacl::text FROM pg_database WHERE datname = current_database()",
        "SHOW search_path",
    ):
        assert place.assert_same_rows(golden, made.database, query)


def test_a_large_golden_is_copied_by_files(place, patient, monkeypatch):
    """Beyond the size at which a full disk would stop the server, files are copied instead of logged."""
    monkeypatch.setattr(template, "SMALL_BYTES", 1)
    made = place.clone(place.golden("CREATE TABLE t AS SELECT 1 AS i"), method="template")

    assert place.rows(made.database, "SELECT i FROM t") == [(1,)]


def test_auto_leaves_sessions_alone(place):
    """While a session is connected, `auto` takes a snapshot by a dump, and the session stays."""
    golden = place.golden("CREATE TABLE t AS SELECT 1 AS i")
    with place.connect(golden) as session:
        made = place.clone(golden, method="auto")
        session.execute("SELECT 1")

    assert made.method == "snapshot"
    assert place.said == [f"dumping {golden}, as 1 session is connected to golden"]


def test_template_says_what_is_in_the_way(place):
    """Asked for by name, the method fails at once and says what to do; nothing is made."""
    golden = place.golden()
    before = place.databases()
    with place.connect(golden), place.connect(golden), pytest.raises(CloneError) as caught:
        place.clone(golden, method="template")

    assert caught.value.why == "2 sessions are connected to golden"
    assert "WORKTREE_CLONE_METHOD=auto" in caught.value.hint
    assert place.databases() == before


def test_golden_of_another_role_is_not_copied_by_template(place):
    """A role that does not own golden cannot copy it physically; `auto` dumps what it may read."""
    server = place.as_role(place.role())
    golden = place.golden("CREATE TABLE t AS SELECT 1 AS i; GRANT SELECT ON t TO PUBLIC")
    made = place.clone(golden, method="auto", server=server)

    assert made.method == "snapshot"
    assert place.said == [f"dumping {golden}, as it belongs to role `goldentree`, and our role is not a member of it"]
    with pytest.raises(CloneError, match="cannot be copied by TEMPLATE"):
        place.clone(golden, method="template", server=server)


def test_blocked_template_copy_gives_up_soon(place, meanwhile):
    """Who connects after we looked keeps golden to themselves: the attempt ends soon, and new logins get in."""
    golden = place.golden()
    described = require_golden(place.admin, golden)
    waited, stop = [], threading.Event()

    def log_in():
        while not stop.is_set():
            started = time.monotonic()
            place.connect(golden).close()
            waited.append(time.monotonic() - started)

    with place.connect(golden):
        visitor = meanwhile(log_in)
        with pytest.raises((errors.ObjectInUse, errors.QueryCanceled)):
            template.copy(place.admin, described, new_temporary_name())
        stop.set()
        visitor.join()
    # Left to itself, PostgreSQL holds them up for five seconds.
    assert max(waited) < 3
    assert place.admin.execute("SHOW statement_timeout").fetchone() == ("0",)


@pytest.mark.parametrize(("method", "outcome"), [("auto", "snapshot"), ("template", None)])
def test_session_in_the_last_moment_prevents_the_copy(place, monkeypatch, method, outcome):
    """If a session connects between the check and the copy, `auto` takes a snapshot, and `template` says so."""
    golden = place.golden("CREATE TABLE t AS SELECT 1 AS i")
    copy, sessions = template.copy, []

    def late(*arguments, **options):
        sessions.append(place.connect(golden))
        copy(*arguments, **options)

    monkeypatch.setattr(template, "copy", late)
    if outcome:
        assert place.clone(golden, method=method).method == outcome
    else:
        with pytest.raises(CloneError, match="cannot be copied by TEMPLATE"):
            place.clone(golden, method=method)
    for session in sessions:
        session.execute("SELECT i FROM t")
        session.close()


def test_changed_collation_makes_a_dump_necessary(place):
    """PostgreSQL refuses to copy a database whose collation the operating system has changed; a dump sorts it again."""
    if place.admin.info.server_version < 150_000:
        pytest.skip("PostgreSQL 15 was the first to record the collation's version")
    golden = place.golden("CREATE TABLE t AS SELECT 1 AS i")
    place.admin.execute("UPDATE pg_database SET datcollversion = '0.1' WHERE datname = %s", [golden])
    made = place.clone(golden, method="auto")

    assert made.method == "snapshot"
    assert "collation version" in place.said[-1]
