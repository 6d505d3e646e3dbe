"""Pulling: another server's data arrives whole, masked before anyone sees it, and nothing there is ever written."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import psycopg
import pytest

from tasks_lib.databases.golden import pull
from tasks_lib.databases.golden.pull_source import PullSource
from tasks_lib.databases.golden.pull_target import create_pull_target
from tasks_lib.databases.ownership.golden_template import describe_database
from tasks_lib.databases.server import binaries
from tasks_lib.errors import DatabaseError, OwnershipError, ServerError, SettingsError

NOW = "2026-02-03T04:05:06+00:00"

SCRIPT = """
CREATE EXTENSION pg_trgm;
CREATE TABLE person (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100), name text, shout text GENERATED ALWAYS AS (upper(name)) STORED
);
INSERT INTO person (name) VALUES ('ada'), ('bob'), ('cy');
CREATE INDEX ON person USING gin (name gin_trgm_ops);
CREATE SEQUENCE ticket START 7; SELECT nextval('ticket'), nextval('ticket');
CREATE TABLE kind AS SELECT 1 AS i;
SELECT lo_from_bytea(4711, 'a large object');
CREATE PUBLICATION everything FOR ALL TABLES;
"""

WORD = "p@ss:w/rd%#"


def wanted(place, golden, url, mask=None):
    """Return the pull of the database at *url* into *place*."""
    return pull.Pull(place.source(golden), PullSource.parse(url), NOW, mask, place.said.append, lambda *_: None)


def url_of(place, database, *, user=None, password=None, **parameters):
    """Return a URL of *database* as users write it."""
    known = place.server.url.parameters
    user, password = user or known["user"], password or known["password"]
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in parameters.items())
    login = f"{user}:{quote(password, safe='')}"
    return f"postgresql://{login}@{known['host']}:{known['port']}/{database}" + (f"?{query}" if query else "")


def state(place):
    """Return all that a failed pull must leave as it was."""
    return place.admin.execute(
        "SELECT oid, datname, datacl::text, datallowconn, shobj_description(oid, 'pg_database') FROM pg_database "
        "ORDER BY 1"
    ).fetchall()


def pulled(place, golden, database, url, mask=None):
    made = pull.pull_into_clone(wanted(place, golden, url, mask), database, slug=place.slug)
    place.made.append(made.parked)
    return made


@pytest.fixture
def golden(place):
    """Give a golden template with settings and privileges of its own."""
    name = place.golden("CREATE TABLE old AS SELECT 1 AS i")
    place.run("ALTER DATABASE {} SET search_path = public, app", name)
    place.run("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", name)
    place.run("COMMENT ON DATABASE {} IS 'curated by Ada'", name)
    return name


def test_pulled_clone_is_masked_before_use(place, production, golden):
    """Schema and data arrive, masked before anyone else can connect; the old clone is parked, its settings stay."""
    there = production.golden(SCRIPT)
    before, stranger = production.fingerprint(there), place.role("LOGIN")
    role = production.role("LOGIN SUPERUSER")
    production.run(f"ALTER ROLE {{}} PASSWORD '{WORD}'", role)
    production.run("ALTER ROLE {} SET default_transaction_read_only = off", role)
    database = place.clone(golden).database
    place.execute(database, "INSERT INTO old VALUES (2)")
    refused = []

    def mask(url):
        with pytest.raises(psycopg.OperationalError) as caught:
            place.connect(url.database, user=stranger, password=stranger)
        refused.append(str(caught.value))
        place.execute(url.database, "UPDATE person SET name = 'x' || id")

    made = pulled(place, golden, database, url_of(production, there, user=role, password=WORD), mask)

    assert "permission denied for database" in refused[0]
    assert [line for line in place.said if f"anyone who may create objects in {there} can run code as" in line]
    rows = [(100, "x100", "X100"), (101, "x101", "X101"), (102, "x102", "X102")]
    assert place.rows(database, "SELECT id, name, shout FROM person ORDER BY 1") == rows
    assert place.rows(database, "INSERT INTO person (name) VALUES ('dee') RETURNING id") == [(103,)]
    assert place.rows(database, "SELECT nextval('ticket')") == [(9,)]
    assert place.rows(database, "SELECT lo_get(4711)") == [(b"a large object",)]
    assert place.rows(database, "SELECT count(*) FROM pg_publication") == [(0,)]
    assert place.rows(database, "SHOW search_path") == [("public, app",)]
    assert (made.tables, made.rows, made.remarks) == (2, 4, ())
    with place.connect(database, user=stranger, password=stranger) as connection:
        assert connection.execute("SELECT has_database_privilege(%s, 'TEMP')", [database]).fetchone() == (False,)

    assert production.fingerprint(there) == before
    assert made.parked == f"{database}_parked_20260203040506"
    place.run("ALTER DATABASE {} ALLOW_CONNECTIONS true", made.parked)
    assert place.rows(made.parked, "SELECT i FROM old ORDER BY 1") == [(1,), (2,)]


def test_source_is_only_read_ever(production):
    """Neither our sessions nor pg_dump's can write, whatever role and URL say; their other options stay."""
    there = production.golden()
    options = "-c default_transaction_read_only=off -c work_mem=5MB"
    remote = PullSource.parse(url_of(production, there, options=options))

    with production.connect(there, options=remote.server.environment(there, 0)["PGOPTIONS"]) as dumping:
        assert dumping.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
    with remote.server.connect(remote.database) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("5MB",)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE t ()")


def test_own_databases_are_refused_as_source(place, golden):
    """Golden, a clone and DATABASE_URL's database are refused as sources, whatever the server is called."""
    database = place.clone(golden).database
    before = state(place)
    for name, said in [(golden, "the golden template itself"), (database, "the clone of worktree `feat_1`")]:
        url = url_of(place, name)
        (socket,) = place.admin.execute("SHOW unix_socket_directories").fetchone()
        spellings = [url, url.replace("127.0.0.1", "localhost")]
        spellings += [url.replace("127.0.0.1", quote(socket, safe=""))] if socket else []
        for spelling in spellings:
            with pytest.raises(OwnershipError, match="on this server") as caught:
                pull.check_pull(wanted(place, golden, spelling))
            assert said in caught.value.why
    with pytest.raises(OwnershipError, match="on this server") as caught:
        pull.check_pull(wanted(place, golden, url_of(place, place.server.url.database)))
    assert "DATABASE_URL" in caught.value.why
    assert state(place) == before
    pulled(place, golden, database, url_of(place, place.golden(SCRIPT)))
    assert place.rows(database, "SELECT count(*) FROM person") == [(3,)]


def test_failed_mask_drops_the_pulled_rows(place, production, golden):
    """Nothing of what was pulled is left when it cannot be masked."""
    there, database = production.golden(SCRIPT), place.clone(golden).database
    before = state(place)

    def mask(url):
        place.execute(url.database, "UPDATE nothing SET i = 1")

    with pytest.raises(DatabaseError, match="42P01"):
        pulled(place, golden, database, url_of(production, there), mask)
    assert state(place) == before


def test_unreachable_source_is_an_error(place, production, golden):
    """A source that is down, or rejects the login, is an error about PULL_DATABASE_URL; no password is shown."""
    there = production.golden()
    url = url_of(production, there, password=WORD)
    port = production.server.url.parameters["port"]
    for wrong, said in [
        (url, "rejects the login"),
        (url.replace(f":{quote(WORD, safe='')}", ""), "rejects the login"),
        (url.replace(f":{port}/", ":1/"), "no PostgreSQL server answers"),
    ]:
        with pytest.raises(ServerError, match=said) as caught:
            pull.check_pull(wanted(place, golden, wrong))
        assert "PULL_DATABASE_URL" in caught.value.hint
        assert "without DATABASE_URL" not in caught.value.hint
        assert WORD not in str(caught.value)
        assert quote(WORD, safe="") not in str(caught.value)
    with pytest.raises(DatabaseError, match="database `nowhere` does not exist"):
        pull.check_pull(wanted(place, golden, url_of(production, "nowhere")))
    with pytest.raises(SettingsError, match="PULL_DATABASE_URL contains no database name"):
        PullSource.parse("postgresql://127.0.0.1")


def test_what_is_missing_here(place, production, golden):
    """Extensions and roles that this server lacks are named before anything is copied; another version is remarked."""
    role = production.role("NOLOGIN")
    script = f"CREATE TABLE t AS SELECT 1 AS i; CREATE POLICY p ON t TO {role}"
    with pytest.raises(DatabaseError, match=f"lacks roles: `{role}`") as caught:
        pull.check_pull(wanted(place, golden, url_of(production, production.golden(script))))
    assert caught.value.hint == f'CREATE ROLE "{role}" NOLOGIN;'

    there, database = production.golden(SCRIPT), place.clone(golden).database
    production.execute(there, "UPDATE pg_extension SET extversion = '0.1' WHERE extname = 'pg_trgm'")
    made = pulled(place, golden, database, url_of(production, there))
    assert made.remarks == ("extension `pg_trgm` 0.1 is not available here; its default version is used",)
    assert place.rows(database, "SELECT count(*) FROM person") == [(3,)]
    production.execute(there, "UPDATE pg_extension SET extname = 'nowhere' WHERE extname = 'pg_trgm'")
    with pytest.raises(DatabaseError, match="lacks extensions: `nowhere`"):
        pull.check_pull(wanted(place, golden, url_of(production, there)))


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
def test_a_locale_that_is_missing_here(place, production, golden, encoding):
    """The server's own takes its place, or C where that does not suit the encoding, and that is said."""
    there, name = production.golden(), "goldentree_tmp_0123456789abcdef"
    described = replace(describe_database(production.admin, there), encoding=encoding, collate="xx_XX", ctype="xx_XX")
    try:
        source = place.source(golden)
        comment = source.new_comment("temporary", created_at=NOW)
        remarks = create_pull_target(place.admin, source.signer, described, name, comment)
        row = place.admin.execute(
            "SELECT pg_encoding_to_char(encoding), datcollate, has_database_privilege('public', oid, 'CONNECT') "
            "FROM pg_database WHERE datname = %s",
            [name],
        ).fetchone()
    finally:
        place.run("DROP DATABASE IF EXISTS {}", name)

    assert (row[0], row[2]) == (encoding, False)
    assert f"the locale `{row[1]}`" in remarks[0]
    assert "xx_XX" in remarks[0]


@pytest.mark.every_major
def test_pull_from_a_newer_major_is_refused(place, servers, golden):
    """What is on a newer major version than ours is refused; an equal one is not."""
    newest = binaries.find_server_programs()
    url = servers(newest).rpartition("/")[0] + "/template1"
    if place.admin.info.server_version // 10_000 < newest.major:
        with pytest.raises(DatabaseError, match="is on PostgreSQL"):
            pull.check_pull(wanted(place, golden, url))
    else:
        pull.check_pull(wanted(place, golden, url))


def test_pulled_golden_replaces_the_old(place, production, golden, eventually):
    """It takes golden's place, comment, settings and privileges; who is connected is refused, or evicted if idle."""
    there = production.golden(SCRIPT)
    mine = wanted(place, golden, url_of(production, there))
    query = (
        "SELECT datacl::text, setconfig, shobj_description(d.oid, 'pg_database') "
        "FROM pg_database d JOIN pg_db_role_setting ON setdatabase = d.oid WHERE datname = %s"
    )
    facts, before = place.admin.execute(query, [golden]).fetchone(), state(place)
    with place.connect(golden) as session:
        with pytest.raises(DatabaseError, match="1 session is connected"):
            pull.check_golden_replaceable(mine.source, evict_idle=False)
        with pytest.raises(DatabaseError, match="1 session is connected"):
            pull.pull_into_golden(mine, evict_idle=False)
        assert state(place) == before
        made = pull.pull_into_golden(mine, evict_idle=True)
        place.made.append(made.parked)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")

    assert place.rows(golden, "SELECT count(*) FROM person") == [(3,)]
    assert place.admin.execute(query, [golden]).fetchone() == facts
    assert made.parked == f"{golden}_parked_20260203040506"
    closed = "SELECT datallowconn FROM pg_database WHERE datname = %s"
    assert place.admin.execute(closed, [made.parked]).fetchone() == (False,)


def test_pull_creates_a_missing_golden(place, production):
    """A missing golden template is created; every role may connect to it, and it has no ownership comment."""
    golden = "gold_not_yet_there"
    place.made.append(golden)
    mine = wanted(place, golden, url_of(production, production.golden(SCRIPT)))
    pull.check_golden_replaceable(mine.source, evict_idle=False)
    made = pull.pull_into_golden(mine, evict_idle=False)

    assert made.parked == ""
    assert place.rows(golden, "SELECT count(*) FROM person") == [(3,)]
    query = (
        "SELECT shobj_description(oid, 'pg_database'), has_database_privilege('public', oid, 'CONNECT'), datallowconn "
        "FROM pg_database WHERE datname = %s"
    )
    assert place.admin.execute(query, [golden]).fetchone() == (None, True, True)
