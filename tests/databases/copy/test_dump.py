"""Method `dump`: everything of golden's arrives, while others use it, or nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import psycopg
import pytest

from tasks_lib.databases.clone import clone
from tasks_lib.databases.copy import transfer
from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import CloneError, DatabaseError

pytestmark = pytest.mark.every_major

EXTENDED = r"""
CREATE SCHEMA app; CREATE SCHEMA "Odd ""%s"" Schema";
CREATE EXTENSION pg_trgm SCHEMA app VERSION '1.3';
CREATE EXTENSION "citext" SCHEMA "Odd ""%s"" Schema";
COMMENT ON SCHEMA app IS E'CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA app;';

CREATE FUNCTION public.misleading() RETURNS text LANGUAGE sql AS $$
SELECT '
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA app;
SET transaction_timeout = 0;
'
$$;
"""


def test_empty_golden_gives_empty_clone(place):
    """A golden template without anything in it gives a clone without anything in it."""
    made = place.clone(place.golden())

    assert (made.method, made.reason, made.warnings) == ("dump", "configured", ())
    assert place.rows(made.database, "SELECT count(*) FROM pg_class WHERE oid >= 16384") == [(0,)]


@pytest.mark.parametrize("name", ["gold \"%s\" \\ % 'x' {0}", "Gold-Ünï/@:?#=&", "host=nowhere port=1", "-U nouser"])
def test_odd_names_of_golden_work(place, name):
    """The golden template may have any name that PostgreSQL accepts, those that look like options included."""
    made = place.clone(place.golden("CREATE TABLE t AS SELECT 1 AS i", name=name))

    assert place.rows(made.database, "SELECT i FROM t") == [(1,)]


def test_an_invalid_index_is_no_difference(place):
    """The remains of a failed CREATE INDEX CONCURRENTLY in golden are left out, and do not count as a failure."""
    golden = place.golden("CREATE TABLE t AS SELECT 1 AS i FROM generate_series(1, 2)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        place.execute(golden, "CREATE UNIQUE INDEX CONCURRENTLY ON t (i)")

    assert place.rows(place.clone(golden).database, "SELECT count(*) FROM t") == [(2,)]


# --- roles -------------------------------------------------------------------------------------------


def test_an_owners_grants_are_kept(place):
    """An ordinary role that owns all of golden keeps owners, grants and default privileges."""
    owner, reader = place.role(), place.role("LOGIN")
    golden = place.golden(owner=owner)
    with place.connect(golden, user=owner, password=owner) as connection:
        connection.execute(
            f"CREATE SCHEMA app; CREATE TABLE app.t (i int); GRANT SELECT ON app.t TO {reader}; "
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO {reader}"
        )
    made = place.clone(golden, server=place.as_role(owner))

    place.assert_same_rows(
        golden, made.database, "SELECT relowner::regrole::text, relacl::text FROM pg_class WHERE relname = 't'"
    )
    place.assert_same_rows(
        golden, made.database, "SELECT defaclrole::regrole::text, defaclacl::text FROM pg_default_acl"
    )


def test_a_superusers_extension_is_no_obstacle(place):
    """Tables and functions of an extension belong to the role that installed it; golden's own keep their owner."""
    owner = place.role()
    golden = place.golden("CREATE EXTENSION pg_trgm; CREATE EXTENSION hstore", owner=owner)
    with place.connect(golden, user=owner, password=owner) as connection:
        connection.execute("CREATE SCHEMA app; CREATE TABLE app.t (i int); GRANT SELECT ON app.t TO pg_monitor")
    made = place.clone(golden, server=place.as_role(owner))

    assert place.assert_same_rows(golden, made.database, "SELECT relacl::text FROM pg_class WHERE relname = 't'") != [
        (None,)
    ]


def test_role_without_the_owners_rights_owns_its_clone(place):
    """A role that may read golden but not give objects to their owners gets a clone that belongs to itself."""
    reader = place.role()
    golden = place.golden(
        "CREATE TABLE t AS SELECT 1 AS i; CREATE SEQUENCE s; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}; GRANT SELECT ON s TO {reader}"
    )
    place.run("ALTER DATABASE {} SET session_preload_libraries = plpgsql", golden)
    made = place.clone(golden, server=place.as_role(reader))

    assert "`session_preload_libraries` could not be copied" in made.warnings[0]
    assert place.rows(
        made.database, "SELECT relowner::regrole::text, relacl::text FROM pg_class WHERE relname = 't'"
    ) == [(reader, None)]
    with place.connect(made.database, user=reader, password=reader) as connection:
        assert connection.execute("INSERT INTO t VALUES (2) RETURNING i").fetchone() == (2,)


def test_hidden_rows_fail_the_dump(place):
    """A table whose policies apply to our role is a loud failure, never a clone with fewer rows."""
    owner = place.role()
    golden = place.golden(owner=owner)
    with place.connect(golden, user=owner, password=owner) as connection:
        connection.execute(
            "CREATE SCHEMA app; CREATE TABLE app.t AS SELECT generate_series(1, 9) AS i; "
            "ALTER TABLE app.t ENABLE ROW LEVEL SECURITY; ALTER TABLE app.t FORCE ROW LEVEL SECURITY; "
            "CREATE POLICY few ON app.t USING (i < 3)"
        )
    before = place.databases()
    with pytest.raises(DatabaseError) as caught:
        place.clone(golden, server=place.as_role(owner))

    assert "row-level security" in str(caught.value)
    assert "BYPASSRLS" in caught.value.hint
    assert place.databases() == before


def test_unreadable_table_fails_the_dump(place):
    """A table without the right to read it is a failure that names it, and leaves nothing."""
    reader = place.role()
    golden = place.golden("CREATE TABLE hidden (i int)")
    before = place.databases()
    with pytest.raises(DatabaseError, match="permission denied for table hidden"):
        place.clone(golden, server=place.as_role(reader))
    assert place.databases() == before


# --- golden in use -----------------------------------------------------------------------------------


def test_golden_in_use_is_dumped_consistently(place, meanwhile, eventually):
    """Three sessions, one of which writes all the time, keep working; the clone holds one moment of golden."""
    golden = place.golden(
        "CREATE TABLE a (i serial, note text); CREATE TABLE b (i int); CREATE SEQUENCE busy; CREATE SEQUENCE still"
    )
    stop, written = threading.Event(), []
    with place.connect(golden) as idle, place.connect(golden) as open_transaction, place.connect(golden) as writing:

        def write():
            while not stop.is_set():
                # One row in each, together: a clone of one moment has as many in both.
                writing.execute("WITH new AS (INSERT INTO a (note) VALUES (nextval('busy')) RETURNING i) "
                                "INSERT INTO b SELECT i FROM new")  # fmt: skip
                written.append(1)

        open_transaction.execute("BEGIN; SELECT count(*) FROM a")
        writer = meanwhile(write)
        try:
            eventually(lambda: len(written) > 50)
            made = place.clone(golden, method="auto")
            during = len(written)
            eventually(lambda: len(written) > during)
        finally:
            stop.set()
            writer.join()
        assert idle.execute("SELECT 1").fetchone() == (1,)
        open_transaction.execute("COMMIT")

    ((a, b),) = place.rows(made.database, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)")
    assert made.method == "snapshot"
    assert place.said == [f"dumping {golden}, as 3 sessions are connected to golden"]
    assert a == b > 50
    assert place.rows(made.database, "SELECT last_value >= (SELECT max(i) FROM a) FROM a_i_seq") == [(True,)]


def test_row_committed_just_now_is_dumped(place):
    """What an open session committed right before is in the clone, asynchronous commits included."""
    golden = place.golden("CREATE TABLE t (i int)")
    with place.connect(golden, options="-c synchronous_commit=off") as session:
        session.execute("INSERT INTO t VALUES (42)")
        made = place.clone(golden)

        assert place.rows(made.database, "SELECT i FROM t") == [(42,)]
        assert session.execute("SELECT i FROM t").fetchone() == (42,)


# --- clients -----------------------------------------------------------------------------------------


def test_newer_pg_dump_makes_an_equal_clone(place, monkeypatch):
    """Without clients of the server's major, newer ones do: what its settings lack is left out, the rest is kept."""
    newest = max(binaries.list_installed(), key=lambda programs: programs.version)
    monkeypatch.setattr(binaries, "list_installed", lambda: [newest])
    golden = place.golden(EXTENDED)
    made = place.clone(golden)

    assert place.schema(made.database) == place.schema(golden)
    place.assert_same_rows(golden, made.database, "SELECT extname, extversion FROM pg_extension ORDER BY 1")
    place.assert_same_rows(golden, made.database, "SELECT misleading()")


def test_newer_pg_dump_works_without_extensions(place, monkeypatch):
    """The same for a golden template that has no extension, and for an empty one."""
    newest = max(binaries.list_installed(), key=lambda programs: programs.version)
    monkeypatch.setattr(binaries, "list_installed", lambda: [newest])

    assert place.clone(place.golden()).method == "dump"
    assert place.clone(place.golden("CREATE TABLE t (i int)")).method == "dump"


def test_a_service_does_not_divert_the_restore(place, tmp_path, monkeypatch):
    """A service file's own database, which libpq puts before PGDATABASE, is neither read nor written."""
    bystander = place.golden("CREATE TABLE theirs (i int)")
    golden = place.golden("CREATE TABLE ours AS SELECT 1 AS i")
    parameters = {**place.server.url.parameters, "dbname": bystander}
    lines = [f"{key}={parameters[key]}" for key in ("host", "port", "user", "password", "dbname")]
    (tmp_path / "services").write_text("\n".join(["[app]", *lines]))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    for exported, url in ((None, "postgresql://?service=app"), ("app", place.server.url.text)):
        if exported:
            monkeypatch.setenv("PGSERVICE", exported)
        made = place.clone(golden, server=Server(DatabaseUrl.parse(url)))

        assert place.rows(made.database, "SELECT i FROM ours") == [(1,)]
        assert place.rows(bystander, "SELECT to_regclass('ours')") == [(None,)]


def test_users_psqlrc_and_variables_change_nothing(place, tmp_path, monkeypatch):
    """Neither a `.psqlrc` nor exported PG variables change what happens."""
    golden = place.golden("CREATE TABLE t AS SELECT 1 AS i")
    (tmp_path / "rc").write_text("\\set ON_ERROR_STOP 0\n\\set AUTOCOMMIT off\nCREATE TABLE from_rc ();\n")
    for name, value in {"PSQLRC": tmp_path / "rc", "PGDATABASE": "nowhere", "PGHOST": "nowhere", "PGPORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("PGOPTIONS", "-c search_path=nowhere")
    made = place.clone(golden)

    assert place.rows(made.database, "SELECT i FROM public.t") == [(1,)]
    assert place.rows(made.database, "SELECT to_regclass('from_rc')") == [(None,)]


def test_timeouts_of_golden_do_not_end_a_dump(place):
    """Timeouts that golden's users live with do not end a clone of it."""
    golden = place.golden("CREATE TABLE t AS SELECT generate_series(1, 200000) AS i")
    place.run("ALTER DATABASE {} SET statement_timeout = '40ms'", golden)
    place.run("ALTER DATABASE {} SET idle_in_transaction_session_timeout = '40ms'", golden)
    place.run("ALTER DATABASE {} SET default_transaction_read_only = on", golden)

    assert place.rows(place.clone(golden).database, "SHOW statement_timeout") == [("40ms",)]


# --- failures ----------------------------------------------------------------------------------------

# A COPY of three seconds into the clone, and more behind it than fits into any pipe.
SLOW = """
CREATE FUNCTION slow(i int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0); RETURN true; END';
CREATE TABLE a_first (i int CHECK (slow(i))); INSERT INTO a_first SELECT generate_series(1, 3);
CREATE OR REPLACE FUNCTION slow(i int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN true; END';
CREATE TABLE b_second AS SELECT i, repeat(md5(i::text), 100) AS filler FROM generate_series(1, 3000) AS i;
"""


def children(name):
    """Return the process ids of our children that are called *name*."""
    found = subprocess.run(
        ["pgrep", "-x", "-P", str(os.getpid()), name], capture_output=True, text=True, check=False
    ).stdout
    return [int(pid) for pid in found.split()]


@pytest.mark.parametrize("victim", ["pg_dump", "psql"])
def test_killed_pg_dump_or_psql_leaves_nothing(place, meanwhile, eventually, victim):
    """
    When either end is killed midway, the error says which, and neither name exists afterwards.

    psql takes the end of a dead pg_dump for the end of the dump, and exits with 0.
    """
    golden = place.golden(SLOW)
    before = place.databases()

    def kill():
        eventually(lambda: restoring(place))
        os.kill(children(victim)[0], signal.SIGKILL)

    meanwhile(kill)
    with pytest.raises(CloneError, match=f"{victim} exited with -9"):
        place.clone(golden)
    assert place.databases() == before
    assert not place.sessions("pg_dump")
    assert not children("psql")
    assert not children("pg_dump")


def restoring(place):
    return place.admin.execute(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'psql' AND query LIKE 'COPY%'"
    ).fetchone()


@pytest.mark.parametrize("victim", ["pg_dump", "psql", "server"])
def test_a_stopped_process_of_a_dump_ends_it_after_a_while(own, meanwhile, eventually, monkeypatch, capsys, victim):
    """A program or its server process; nothing can be dropped while the latter is stopped, and the next clone does."""
    monkeypatch.setattr("tasks_lib.databases.copy.stopped.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("tasks_lib.databases.copy.stopped.STOPPED_SECONDS", 0.2)
    monkeypatch.setattr("tasks_lib.databases.server.waiting.connection.STOPPED_SECONDS", 0.2)
    golden = own.golden(SLOW)
    before, pids = own.databases(), []

    def stop():
        eventually(lambda: restoring(own))
        pids.extend(own.sessions("psql") if victim == "server" else children(victim))
        os.kill(pids[0], signal.SIGSTOP)

    meanwhile(stop)
    with pytest.raises(CloneError, match="of the dump is stopped") as caught:
        own.clone(golden)
    if victim == "server":
        os.kill(pids[0], signal.SIGCONT)
        clone.drop_abandoned_temporaries(own.source(golden), own.said.append)
    assert str(caught.value).endswith(f"kill -CONT {pids[0]}")
    assert f"process {pids[0]} of the dump is stopped" in capsys.readouterr().err
    assert own.databases() == before


def test_lost_backend_leaves_nothing_behind(place, meanwhile, eventually):
    """When the server ends the restoring session, the clone fails and nothing is left."""
    golden = place.golden(SLOW)
    before = place.databases()

    def terminate():
        eventually(lambda: restoring(place))
        place.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'psql'")

    meanwhile(terminate)
    with pytest.raises(CloneError, match="psql exited with"):
        place.clone(golden)
    assert place.databases() == before


@pytest.mark.parametrize("queued", [False, True], ids=["holds", "waits"])
def test_lock_of_a_migration_is_reported_with_its_holder(place, meanwhile, eventually, monkeypatch, queued):
    """Behind a migration's lock, held or waited for, cloning gives up and says who has it, doing what."""
    monkeypatch.setattr(transfer, "LOCK_TIMEOUT", "500ms")
    golden = place.golden("CREATE TABLE t (i int)")
    before = place.databases()
    with place.connect(golden) as reader, place.connect(golden) as migration:
        if queued:
            reader.execute("BEGIN; SELECT * FROM t")
            meanwhile(lambda: migration.execute("ALTER TABLE t ADD j int"))
            eventually(lambda: place.admin.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone())
        else:
            migration.execute("BEGIN")
            migration.execute("ALTER TABLE t ADD j int")
        with pytest.raises(CloneError) as caught:
            place.clone(golden)
        reader.execute("ROLLBACK")
        holder = migration.info.backend_pid

    verb = "waits to lock" if queued else "locks"
    assert f"process {holder} (goldentree) {verb} `public.t`: ALTER TABLE t ADD j int" in caught.value.why
    assert "migration" in caught.value.hint
    assert place.databases() == before


def test_unavailable_extension_fails_with_two_hints(place):
    """An extension whose version the server has no scripts for is an error with two ways out."""
    golden = place.golden(
        "CREATE EXTENSION pg_trgm; UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'pg_trgm'"
    )
    with pytest.raises(CloneError) as caught:
        place.clone(golden)

    assert 'version "0.9"' in caught.value.why
    assert "ALTER EXTENSION" in caught.value.hint


def test_failed_restore_shows_the_words_of_psql(place):
    """A function that finds nothing without its search path fails in the restore; psql's own words are shown."""
    golden = place.golden(
        "CREATE TABLE t (i int); CREATE FUNCTION f(i int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'; "
        "CREATE FUNCTION g(i int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN f(i); END'; "
        "ALTER TABLE t ADD CHECK (g(i)); INSERT INTO t VALUES (1)"
    )
    before = place.databases()
    with pytest.raises(CloneError, match="psql exited with 3") as caught:
        place.clone(golden)

    assert "function f(integer) does not exist" in caught.value.why
    assert place.databases() == before


def test_what_did_not_arrive_is_found(place):
    """A table that pg_dump leaves out, with exit status 0, is found when the clone is compared with golden."""
    golden = place.golden(
        "CREATE EXTENSION pg_trgm; CREATE TABLE lost AS SELECT 1 AS i; ALTER EXTENSION pg_trgm ADD TABLE lost"
    )
    before = place.databases()
    with pytest.raises(CloneError) as caught:
        place.clone(golden)

    assert caught.value.what == f"the clone differs from `{golden}`"
    assert "tables `public.lost`: 1 in golden, missing in the clone" in caught.value.why
    assert place.databases() == before


def test_passwords_are_in_no_argument(place, meanwhile, eventually):
    """While it runs, neither child has the password in its argument list, where every user could read it."""
    golden = place.golden(SLOW)
    listed = []

    def look():
        eventually(lambda: restoring(place))
        pids = children("psql") + children("pg_dump")
        listed.extend(subprocess.check_output(["ps", "-ww", "-o", "args=", "-p", str(pid)], text=True) for pid in pids)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    meanwhile(look)
    with pytest.raises(CloneError) as caught:
        place.clone(golden)
    assert len(listed) == 2
    password = place.server.url.parameters["password"]
    assert not [text for text in [*listed, str(caught.value)] if password in text]
