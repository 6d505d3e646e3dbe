"""The fingerprint changes with what SELECT could see and with nothing else; without a full reading it is empty."""

from __future__ import annotations

import pytest

from tasks_lib.databases.copy import template
from tasks_lib.databases.server.sessions import await_no_sessions
from tasks_lib.errors import DatabaseError

pytestmark = pytest.mark.every_major

SCRIPT = r"""
CREATE TABLE t AS SELECT i, i AS j FROM generate_series(1, 100) AS i; CREATE STATISTICS both_of_them ON i, j FROM t;
CREATE TABLE hollow (i int); CREATE TABLE "odd ""%s"" {} 'name' Ü" AS SELECT 1 AS "a ""b"" c";
CREATE SCHEMA "Odd "".%"" schema"; CREATE SEQUENCE "Odd "".%"" schema"."a.b ""c"" d";
CREATE UNLOGGED TABLE scratch AS SELECT 1 AS i;
CREATE MATERIALIZED VIEW seen AS SELECT * FROM t;
CREATE TABLE source AS SELECT 1 AS i; CREATE MATERIALIZED VIEW stale AS SELECT * FROM source;
CREATE UNIQUE INDEX ON stale (i); INSERT INTO source VALUES (2);
REFRESH MATERIALIZED VIEW CONCURRENTLY stale; INSERT INTO source VALUES (3);
CREATE SEQUENCE s; SELECT nextval('s');
SELECT lo_from_bytea(4711, '\xcafe');
CREATE FOREIGN DATA WRAPPER wrapper; CREATE SERVER remote FOREIGN DATA WRAPPER wrapper;
"""


@pytest.fixture
def golden(place):
    return place.golden(SCRIPT)


# Statement by statement: VACUUM is in no transaction.
CHANGES = {
    "insert": ["INSERT INTO t VALUES (101)"],
    "update to the same values": ["UPDATE t SET i = i WHERE i = 1"],
    "delete": ["DELETE FROM t WHERE i = 2"],
    "delete and vacuum": ["DELETE FROM t WHERE i = 3", "VACUUM t"],
    "delete and insert in its place": [
        "DELETE FROM t", "VACUUM t", "INSERT INTO t SELECT i, i FROM generate_series(1, 100) AS i"
    ],
    "truncate an empty table": ["TRUNCATE hollow"],
    "comment on a column": ["COMMENT ON COLUMN t.i IS 'a number'"],
    "add a column": ["ALTER TABLE t ADD COLUMN k int"],
    "update an unlogged table": ["UPDATE scratch SET i = 2"],
    "update a table with an odd name": ["""UPDATE "odd ""%s"" {} 'name' Ü" SET "a ""b"" c" = 1"""],
    "write a large object": [r"SELECT lo_put(4711, 0, '\x00')"],
    "nextval that is not logged": ["SELECT nextval('s')"],
    "nextval of a sequence with an odd name": ["""SELECT nextval('"Odd "".%"" schema"."a.b ""c"" d"')"""],
    "setval, not called": ["SELECT setval('s', 500, false)"],
    "setting of the database": ["ALTER DATABASE {golden} SET search_path = a, public"],
    "setting of a role in the database": ["ALTER ROLE CURRENT_USER IN DATABASE {golden} SET search_path = a, public"],
    "grant on the database": ["GRANT CREATE ON DATABASE {golden} TO pg_monitor"],
    "comment on the database": ["COMMENT ON DATABASE {golden} IS 'curated'"],
    "owner of the database": ["ALTER DATABASE {golden} OWNER TO pg_monitor"],
    "refresh a materialized view": ["REFRESH MATERIALIZED VIEW seen"],
    "refresh a materialized view row by row": ["REFRESH MATERIALIZED VIEW CONCURRENTLY stale"],
    "create a function": ["CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'"],
    "user mapping": ["CREATE USER MAPPING FOR PUBLIC SERVER remote OPTIONS (password 'x')"],
}  # fmt: skip
NO_CHANGES = {
    "select": ["SELECT * FROM t"],
    "lock rows": ["SELECT * FROM t FOR UPDATE"],
    "vacuum": ["VACUUM"],
    "vacuum freeze": ["VACUUM FREEZE"],
    "analyze": ["ANALYZE"],
    "checkpoint": ["CHECKPOINT"],
    "rolled back": ["BEGIN", "INSERT INTO t VALUES (101)", "CREATE TABLE never AS SELECT 1 AS i", "ROLLBACK"],
}


def run(place, golden, statements):
    with place.connect(golden) as connection:
        for statement in statements:
            connection.execute(statement.replace("{golden}", golden))


@pytest.fixture(scope="module")
def changing(lasting):
    """Give a golden template that one test after the other changes."""
    return lasting.golden(SCRIPT)


@pytest.mark.parametrize("statements", CHANGES.values(), ids=CHANGES)
def test_any_visible_change_changes_it(lasting, changing, statements):
    """Whatever changes what SELECT could see, or how clones are set up, changes the fingerprint."""
    before = lasting.fingerprint(changing)
    run(lasting, changing, statements)

    assert "" != lasting.fingerprint(changing).digest != before.digest != ""


def test_reading_and_rollback_keep_it(place, golden):
    """Reading, maintenance and what was rolled back leave the fingerprint as it was."""
    before = place.fingerprint(golden)
    for name, statements in NO_CHANGES.items():
        run(place, golden, statements)
        assert place.fingerprint(golden) == before, name


def test_writes_in_other_databases_keep_it(place, golden, patient):
    """Writes in another database, and clones made from this one, leave the fingerprint as it was."""
    before = place.fingerprint(golden)
    place.golden("CREATE TABLE t AS SELECT 1 AS i")
    for method in ("dump", "template", "auto"):
        await_no_sessions(place.admin, golden)
        place.execute(place.clone(golden, method=method).database, "INSERT INTO t VALUES (0)")

    assert place.fingerprint(golden) == before


def test_vacuum_of_an_emptied_table_keeps_it(place, golden):
    """When VACUUM gives back the pages of a table that was emptied before, nothing has changed."""
    place.execute(golden, "DELETE FROM t")
    before = place.fingerprint(golden)
    run(place, golden, ["VACUUM t"])

    assert place.rows(golden, "SELECT pg_relation_size('t')") == [(0,)]
    assert place.fingerprint(golden) == before


@pytest.mark.parametrize("strategy", ["logged", "by files"])
def test_physical_copies_have_the_same_fingerprint(place, golden, patient, monkeypatch, strategy):
    """A copy by TEMPLATE, and a copy of that copy, have their original's fingerprint."""
    if strategy == "by files":
        monkeypatch.setattr(template, "SMALL_BYTES", 0)
    await_no_sessions(place.admin, golden)
    first = place.clone(golden, method="template").database
    second = place.clone(first, method="template").database

    assert place.fingerprint(golden) == place.fingerprint(first, of=golden) == place.fingerprint(second, of=golden)
    place.execute(second, "UPDATE t SET i = i")
    assert place.fingerprint(second, of=golden).digest != place.fingerprint(golden).digest


def test_the_same_rows_are_not_the_same_content(place, golden):
    """A logical copy has another fingerprint, because its rows were written again."""
    assert place.fingerprint(place.clone(golden).database, of=golden).digest != place.fingerprint(golden).digest


def test_sequences_and_settings_are_read_every_time(place, golden):
    """Sequences and settings show in the part that is read every time; rows do not."""
    before = place.fingerprint(golden)
    run(place, golden, CHANGES["insert"])
    assert place.fingerprint(golden).outside == before.outside
    run(place, golden, CHANGES["nextval that is not logged"])
    moved = place.fingerprint(golden).outside
    assert moved != before.outside
    run(place, golden, CHANGES["setting of the database"])
    assert place.fingerprint(golden).outside not in {moved, before.outside}


def test_last_of_many_tables_is_read(place):
    """More tables than fit into one statement are read, the last of them too."""
    golden = place.golden(
        "DO $$ BEGIN FOR i IN 1..1500 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT 1 AS i', i); END LOOP; END $$"
    )
    before = place.fingerprint(golden)
    place.execute(golden, "UPDATE t1500 SET i = i")

    assert "" != place.fingerprint(golden).digest != before.digest != ""


# --- what our role may not know ------------------------------------------------------------------------

WRAPPER = "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; "
HIDDEN = {
    "table": ("CREATE TABLE x AS SELECT 1 AS i", "may not read `public.x`"),
    "sequence": ("CREATE SEQUENCE x", "may not read `public.x`"),
    "columns": (
        "CREATE TABLE x AS SELECT 1 AS i, 2 AS j; GRANT SELECT (i) ON x TO PUBLIC",
        "may not read `public.x`",
    ),
    "schema": (
        "CREATE SCHEMA shut; CREATE TABLE shut.x AS SELECT 1 AS i; GRANT SELECT ON shut.x TO PUBLIC",
        "may not read `shut.x`",
    ),
    "large objects": ("SELECT lo_from_bytea(0, 'x')", "may not read `pg_catalog.pg_largeobject`"),
    "user mappings": (
        WRAPPER + "CREATE USER MAPPING FOR PUBLIC SERVER s",
        "may not read `pg_catalog.pg_user_mapping`",
    ),
    "rows": (
        "CREATE TABLE x AS SELECT 1 AS i; GRANT SELECT ON x TO PUBLIC; ALTER TABLE x ENABLE ROW LEVEL SECURITY",
        "row-level security hides rows of `public.x`",
    ),
}


def test_parallel_workers_do_not_change_it(place):
    """Large tables are read by several workers, who finish in any order; the fingerprint does not depend on that."""
    golden = place.golden("".join(f"CREATE TABLE t{n} AS SELECT generate_series(1, {n * 2000});" for n in range(1, 9)))
    for setting in ("parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"):
        place.execute(golden, f'ALTER DATABASE "{golden}" SET {setting}')

    assert len({place.fingerprint(golden) for _ in range(30)}) == 1


@pytest.mark.parametrize(("script", "obstacle"), HIDDEN.values(), ids=HIDDEN)
def test_unreadable_data_gives_no_fingerprint(place, script, obstacle):
    """Data that our role may not read could have changed: the fingerprint is empty, and the reason names the table."""
    golden = place.golden(script)
    found = place.fingerprint(golden, server=place.as_role(place.role()))

    assert found.digest == ""
    assert obstacle in found.obstacle
    assert place.fingerprint(golden).obstacle == ""


OWN = """
CREATE SCHEMA app; CREATE TABLE app.t AS SELECT 1 AS i; CREATE SEQUENCE app.s;
CREATE MATERIALIZED VIEW app.m AS SELECT 1 AS i; CREATE UNLOGGED TABLE app.u AS SELECT 1 AS i;
"""


@pytest.fixture
def owner(place):
    return place.role()


@pytest.fixture
def owned(place, owner):
    """Give the golden template of an ordinary role."""
    golden = place.golden(owner=owner)
    with place.connect(golden, user=owner, password=owner) as connection:
        connection.execute(OWN)
    return golden


def test_owner_reads_what_superuser_reads(place, owner, owned):
    """The owner of everything in golden needs no other right, and reads what a superuser reads."""
    before = place.fingerprint(owned, server=place.as_role(owner))
    assert before == place.fingerprint(owned)
    place.execute(owned, "UPDATE app.t SET i = i")

    assert "" != place.fingerprint(owned, server=place.as_role(owner)).digest != before.digest


def test_what_is_closed_to_the_owner_but_empty(place, owner, owned):
    """Dropped large objects and user mappings do not count as an obstacle: every role can see that none is left."""
    place.execute(
        owned,
        WRAPPER + "CREATE USER MAPPING FOR PUBLIC SERVER s; SELECT lo_from_bytea(4711, 'x')",
    )
    place.execute(owned, "SELECT lo_unlink(4711); DROP FOREIGN DATA WRAPPER w CASCADE")

    assert place.fingerprint(owned, server=place.as_role(owner)) == place.fingerprint(owned)


@pytest.mark.parametrize("security", ["ENABLE", "FORCE"])
def test_only_forced_policies_hide_rows_from_their_owner(place, owner, owned, security):
    """Policies that the owner is exempt from are none; forced ones are an obstacle, and not to who has BYPASSRLS."""
    place.execute(
        owned,
        "ALTER TABLE app.t ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON app.t USING (i < 1); "
        f"ALTER TABLE app.t {security} ROW LEVEL SECURITY",
    )
    obstacle = "row-level security hides rows of `app.t`" if security == "FORCE" else ""

    assert place.fingerprint(owned, server=place.as_role(owner)).obstacle == obstacle
    place.run("ALTER ROLE {} BYPASSRLS", owner)
    assert place.fingerprint(owned, server=place.as_role(owner)) == place.fingerprint(owned)


def test_lock_of_a_migration_gives_no_fingerprint(place, golden):
    """Behind a migration's lock, reading stops at its time limit, and the result is never half a fingerprint."""
    with place.connect(golden) as migration:
        migration.execute("BEGIN")
        migration.execute("ALTER TABLE t ADD COLUMN k int")
        with pytest.raises(DatabaseError, match=r"a lock in .* was not released in time"):
            place.fingerprint(golden, lock_timeout="50ms")
