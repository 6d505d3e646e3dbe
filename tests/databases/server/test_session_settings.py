"""What other roles make in a database, and what they set on it or on a role, changes nothing that our sessions do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tasks_lib.databases.compare import freshness, queries
from tasks_lib.databases.compare.histories import HistoryWatch
from tasks_lib.databases.ownership.golden_template import require_golden
from tasks_lib.databases.server import connection
from tasks_lib.databases.server.connection import Server, scalar
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.databases.server.waiting.connection import WatchedConnection
from tasks_lib.errors import DatabaseError, ServerError

TRAPS = """
    -- Only a superuser may write a file there, also in a transaction that is read-only.
    CREATE FUNCTION public.spring(name text) RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN
        EXECUTE format('COPY (SELECT 1) TO %L', current_setting('data_directory') || '/sprung_' || name);
        RETURN 1;
    EXCEPTION WHEN OTHERS THEN RETURN 0;
    END $$;
    CREATE FUNCTION public.concat_ws(text, bigint, numeric, numeric) RETURNS text LANGUAGE sql
        AS $$ SELECT public.spring('function')::text $$;
    CREATE FUNCTION public.concat_ws(text, bigint, double precision, double precision) RETURNS text LANGUAGE sql
        AS $$ SELECT public.spring('function')::text $$;
    CREATE FUNCTION public.differ(name, name) RETURNS bool LANGUAGE sql
        AS $$ SELECT public.spring('operator') = 0 OR $1 OPERATOR(pg_catalog.~) $2::text $$;
    CREATE OPERATOR public.!~ (LEFTARG = name, RIGHTARG = name, FUNCTION = public.differ);
"""
MORE_TRAPS = """
    CREATE TABLE public.seaql_migrations (version text);
    INSERT INTO public.seaql_migrations VALUES ('m1');
    CREATE FUNCTION public.print(public.seaql_migrations) RETURNS text LANGUAGE sql
        AS $$ SELECT public.spring('cast')::text $$;
    CREATE CAST (public.seaql_migrations AS text) WITH FUNCTION public.print(public.seaql_migrations);
    CREATE TYPE public.version AS ENUM ('v1');
    CREATE TABLE public."SequelizeMeta" (name public.version);
    CREATE FUNCTION public.print(public.version) RETURNS text LANGUAGE sql
        AS $$ SELECT public.spring('cast of a column')::text $$;
    CREATE CAST (public.version AS text) WITH FUNCTION public.print(public.version) AS IMPLICIT;
    CREATE VIEW public.schema_migrations AS SELECT public.spring('view')::text AS version;
    CREATE FUNCTION public.quiet(text) RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS $$ DECLARE found int; BEGIN SELECT public.spring($1) INTO found; RETURN found; END $$;
    CREATE TABLE public.t AS SELECT generate_series(1, 3) AS i;
    CREATE INDEX ON public.t ((public.quiet('index')));
    CREATE INDEX ON public.t (i) WHERE public.quiet('predicate') = 0;
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.current_database() RETURNS name LANGUAGE sql
        AS $$ SELECT public.spring('search_path')::text::name $$;
    CREATE FUNCTION evil.has_schema_privilege(oid, text) RETURNS bool LANGUAGE sql
        AS $$ SELECT public.spring('search_path') = 1 $$;
"""
SETTINGS = (
    "search_path = evil, pg_catalog, public",
    "local_preload_libraries = 'no_such_library'",
    "default_transaction_read_only = on",
    "default_transaction_isolation = 'serializable'",
    "statement_timeout = '1ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "row_security = on",
    "exit_on_error = on",
    "DateStyle = 'SQL, DMY'",
    "extra_float_digits = -5",
    "quote_all_identifiers = on",
    "standard_conforming_strings = off",
    "client_encoding = 'SQL_ASCII'",
)
NEWER_SETTINGS = {140_000: "idle_session_timeout = '50ms'", 170_000: "transaction_timeout = '50ms'"}


@pytest.fixture
def hostile(place):
    """Give a golden template whose owner, an ordinary role, sets all these traps, in `postgres` as well."""
    owner, version = place.role("LOGIN"), place.admin.info.server_version
    golden = place.golden(f"GRANT ALL ON SCHEMA public TO {owner}", owner=owner)
    place.admin.execute(f"GRANT CREATE ON SCHEMA public TO {owner}")  # as every role may before PostgreSQL 15
    with place.connect(golden, user=owner, password=owner) as session:
        session.execute(TRAPS + MORE_TRAPS)
        if version >= 140_000:
            session.execute("CREATE STATISTICS public.s ON (public.quiet('statistics')), i FROM public.t")
    with place.connect("postgres", user=owner, password=owner) as session:
        session.execute(TRAPS)
    settings = [*SETTINGS, f"role = {owner}", *(text for since, text in NEWER_SETTINGS.items() if version >= since)]
    for setting in settings:
        place.run("ALTER DATABASE {} SET " + setting, golden)
    yield golden
    place.admin.execute(f"DROP OWNED BY {owner} CASCADE")


def sprung(place):
    """Return which traps were sprung."""
    return sorted(
        name for (name,) in place.admin.execute("SELECT name FROM pg_ls_dir('.') AS name WHERE name LIKE 'sprung%'")
    )


@pytest.mark.every_major
def test_code_of_other_roles_never_runs_as_ours(place, hostile):
    """Not their functions, operators, casts, views, index expressions or search path, whatever we do with golden."""
    known = {"seaql_migrations": (("version",), str)}
    freshness.read_baseline(place.admin, place.oid("postgres"))
    watch = HistoryWatch(place.server, place.admin, [hostile], known)
    assert watch.before[hostile].tables["public.seaql_migrations"][1] == ["m1"]
    assert "public.SequelizeMeta" in watch.before[hostile].tables
    assert list(queries.read_migrations(place.server, hostile, "public.seaql_migrations", ["version"], str)) == ["m1"]
    with pytest.raises(DatabaseError, match="is not a table"):
        queries.read_migrations(place.server, hostile, "public.schema_migrations", ["version"], str)
    assert queries.read_contents_of(place.server, hostile).tables["public.t"] == 3
    assert queries.read_size_and_table_count(place.server, hostile)[1] == 3
    found = place.fingerprint(hostile)
    assert "planning a query of `public.t` would run function `quiet`" in found.obstacle
    described = require_golden(place.admin, hostile)
    freshness.read_current_fingerprint(
        place.source(hostile), described, freshness.read_baseline(place.admin, described.oid)
    )
    assert sprung(place) == []


@pytest.mark.every_major
def test_traps_do_spring_in_sessions_of_others(place, hostile):
    """The same traps run as the superuser in a session with PostgreSQL's defaults: the test above can fail."""
    with place.connect(hostile, options="-c statement_timeout=0 -c local_preload_libraries= -c role=none") as session:
        session.execute("SET transaction_read_only = off")
        session.execute("SELECT current_database(), count(*), 'a'::name !~ 'b'::name FROM public.t")
        session.execute("SELECT v.version, s::text FROM public.schema_migrations v, public.seaql_migrations s")
    assert {"sprung_cast", "sprung_index", "sprung_operator", "sprung_predicate", "sprung_search_path"} <= {
        *sprung(place)
    }
    data = Path(scalar(place.admin, "SHOW data_directory"))
    for name in sprung(place):
        (data / name).unlink()


@pytest.mark.every_major
def test_settings_of_others_do_not_reach_our_sessions(place, hostile):
    """Whatever golden's owner sets on golden; in the first session of a process as in the next ones."""
    connection._versions.clear()
    for _ in range(2):
        with place.server.connect(hostile) as session:
            assert scalar(session, "SHOW search_path") == "pg_catalog,pg_temp"
            assert scalar(session, "SELECT current_user = session_user")
            shown = {name: scalar(session, f"SHOW {name}") for name in ("statement_timeout", "lock_timeout")}
            if session.info.server_version >= 170_000:
                shown |= {
                    name: scalar(session, f"SHOW {name}") for name in ("idle_session_timeout", "transaction_timeout")
                }
            assert {*shown.values()} == {"0"}
            session.execute("CREATE TABLE public.written ()")
            session.execute("DROP TABLE public.written")
            with pytest.raises(psycopg.errors.UndefinedFunction):
                session.execute("SELECT no_such_function()")
            session.execute("SELECT 1")


def test_options_of_the_url_are_kept_but_not_their_meaning_for_us(place, monkeypatch):
    """Those that only the user can mean stay, a role too; the search path is ours. PGOPTIONS counts as the URL's."""
    role = place.role()
    monkeypatch.setenv("PGOPTIONS", f"-c work_mem=5MB -c search_path=public -c role={role}")
    for url in (place.server.url.text, place.server.url.text + f"?options=-c%20work_mem%3D5MB%20-c%20role%3D{role}"):
        with Server(DatabaseUrl.parse(url)).connect() as session:
            found = [scalar(session, f"SHOW {name}") for name in ("work_mem", "role", "search_path")]
            assert found == ["5MB", role, "pg_catalog,pg_temp"]


@pytest.mark.every_major
def test_clones_are_made_whatever_the_role_sets(place):
    """With each of these settings on our role, a dump is made, restored and compared, and the clone is published."""
    role, version = place.role(), place.admin.info.server_version
    golden = place.golden("CREATE TABLE t AS SELECT 1 AS i", owner=role)
    with place.connect(golden) as admin:
        admin.execute(f"ALTER TABLE t OWNER TO {role}")
    newer = [text for since, text in NEWER_SETTINGS.items() if version >= since]
    for setting in [*(text for text in SETTINGS if "library" not in text), *newer]:
        place.admin.execute(f"ALTER ROLE {role} SET {setting}")
    made = place.clone(golden, server=place.as_role(role))
    place.assert_same_rows(golden, made.database, "SELECT i FROM public.t")


def test_a_starting_server_is_waited_for_with_a_word(place, monkeypatch, capsys):
    """A server that is starting or recovering is waited for, and after a second it is said what for."""
    said = "connection failed: FATAL:  the database system is starting up"
    attempts = iter([psycopg.OperationalError(said)] * 13)
    connect = WatchedConnection.connect

    def refuse(*arguments, **options):
        if error := next(attempts, None):
            raise error
        return connect(*arguments, **options)

    monkeypatch.setattr(WatchedConnection, "connect", refuse)
    with place.server.connect() as session:
        assert scalar(session, "SELECT 1") == 1
    assert "waiting up to 30 s for the server at" in capsys.readouterr().err


STARTING_SERVER = r"""
import socket
fields = b"SFATAL\0VFATAL\0C57P03\0Mdas Datenbanksystem startet\0\0"
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    client.recv(65536)
    client.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
    client.close()
"""


def test_a_server_that_never_starts_is_a_clear_error(monkeypatch):
    """When the time is up, the error says what the server is doing, whatever language it speaks."""
    monkeypatch.setattr(connection, "START_SECONDS", 0.2)
    # A process, because libpq's ping keeps other threads from running.
    with subprocess.Popen([sys.executable, "-c", STARTING_SERVER], stdout=subprocess.PIPE, text=True) as starting:
        url = f"postgresql://u@127.0.0.1:{starting.stdout.readline().strip()}/x?sslmode=disable&gssencmode=disable"
        with pytest.raises(ServerError) as caught, Server(DatabaseUrl.parse(url)).connect():
            pass
        starting.kill()
    assert "is starting, shutting down or recovering" in caught.value.what
    assert "startet" in caught.value.why


@pytest.mark.parametrize("kind", ["role", "database"])
def test_a_connection_limit_is_named_with_its_cure(place, kind):
    """The limit of a role or a database is not the server's, and raising that would not help."""
    role = place.role("LOGIN CONNECTION LIMIT 0" if kind == "role" else "LOGIN")
    database = place.golden(options="CONNECTION LIMIT 0") if kind == "database" else "postgres"
    name = role if kind == "role" else database
    with pytest.raises(ServerError) as caught, place.as_role(role).connect(database):
        pass
    assert caught.value.what == f"{kind} `{name}` has reached its connection limit"
    assert caught.value.hint.endswith(f'ALTER {kind.upper()} "{name}" CONNECTION LIMIT -1;')
