"""What a database holds, and in what two differ."""

from __future__ import annotations

import secrets

import psycopg
import pytest
from psycopg import sql

from tasks_lib.databases.compare import contents

pytestmark = pytest.mark.every_major

SCHEMA = """
CREATE SCHEMA "a.b"; CREATE SCHEMA "a";
CREATE TABLE "a.b"."c" (i int); INSERT INTO "a.b".c VALUES (1);
CREATE TABLE "a"."b.c" (i int); INSERT INTO a."b.c" VALUES (1), (2);
CREATE TABLE "odd ""%s"" name" (i int GENERATED ALWAYS AS IDENTITY, j int REFERENCES keyed);
CREATE TABLE parent (i int); INSERT INTO parent VALUES (1);
CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (2), (3);
CREATE TABLE parted (i int) PARTITION BY LIST (i);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1); INSERT INTO parted VALUES (1), (1);
CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 4) AS i;
CREATE INDEX ON parent (i);
CREATE SEQUENCE fresh START 7; CREATE SEQUENCE used; SELECT nextval('used'); SELECT setval('used', 500, false);
CREATE MATERIALIZED VIEW filled AS SELECT * FROM parent;
CREATE MATERIALIZED VIEW empty AS SELECT * FROM parent WITH NO DATA;
CREATE VIEW seen AS SELECT * FROM parent;
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TYPE pair AS (i int, j int);
CREATE POLICY all_of_them ON parent;
SELECT lo_create(0);
CREATE EXTENSION pg_trgm SCHEMA a VERSION '1.3';
"""


@pytest.fixture
def database(server):
    """Give a connection to a new, empty database."""
    name = f"facts_{secrets.token_hex(4)}"
    with server.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        with psycopg.connect(server.url.conninfo(dbname=name), autocommit=True) as inside:
            yield inside
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def read(connection):
    with connection.transaction():
        return contents.read_contents(connection)


def test_empty_database_has_no_contents(database):
    """Nothing of PostgreSQL's own is counted."""
    found = read(database)

    assert (found.tables, found.sequences, found.objects) == ({}, {}, {})
    assert found.extensions == {"plpgsql": "1.0 in pg_catalog"}
    assert found.locale["encoding"] == "UTF8"


def test_contents_count_rows_and_sequences(database):
    """Rows are counted table by table without children, sequences as they stand, names told apart by their quotes."""
    database.execute("CREATE TABLE keyed (i int PRIMARY KEY)")
    database.execute(SCHEMA)
    found = read(database)

    assert found.tables == {
        '"a.b".c': 1,
        'a."b.c"': 2,
        'public."odd ""%s"" name"': 0,
        "public.child": 2,
        "public.keyed": 0,
        "public.parent": 1,
        "public.parted_1": 2,
        "public.unlogged": 4,
    }
    assert found.rows == 12
    assert found.sequences == {
        'public."odd ""%s"" name_i_seq"': (1, False),
        "public.fresh": (7, False),
        "public.used": (500, False),
    }
    assert found.extensions["pg_trgm"] == "1.3 in a"
    assert found.objects.pop("functions") > 1  # the extension's among them
    assert found.objects == {
        "composite types": 1,
        "constraints": 2,
        "indexes": 2,
        "large objects": 1,
        "materialized views": 2,
        "partitioned tables": 1,
        "policies": 1,
        "views": 1,
    }


def test_an_invalid_index_is_not_counted(database):
    """The remains of a failed CREATE INDEX CONCURRENTLY do not count as an index; pg_dump leaves them out as well."""
    database.execute("CREATE TABLE twice AS SELECT 1 AS i FROM generate_series(1, 2)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY ON twice (i)")

    assert "indexes" not in read(database).objects


def test_thousands_of_tables_are_counted(database):
    """More tables than fit into one statement are all counted."""
    database.execute(
        "DO $$ BEGIN FOR i IN 1..1001 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT 1', i); END LOOP; END $$"
    )
    found = read(database)

    assert (len(found.tables), found.rows) == (1001, 1001)


def test_hidden_rows_are_an_error(database):
    """A policy that hides rows from us makes counting fail; it never gives a smaller count."""
    database.execute("CREATE TABLE secret (i int); ALTER TABLE secret ENABLE ROW LEVEL SECURITY")
    role = sql.Identifier(f"role_{secrets.token_hex(4)}")
    database.execute(sql.SQL("CREATE ROLE {}; GRANT SELECT ON secret TO {}").format(role, role))
    database.execute(sql.SQL("SET ROLE {}").format(role))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        read(database)
    database.execute("RESET ROLE")
    database.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(role, role))


def test_each_difference_names_its_topic():
    """Each difference names its topic, the thing, and both values; equal facts have none."""
    golden = contents.Contents(
        {"encoding": "UTF8"}, {"pg_trgm": "1.3 in a"}, {"public.t": 2}, {"public.s": (3, True)}, {}
    )
    clone = contents.Contents({"encoding": "UTF8"}, {"pg_trgm": "1.6 in a"}, {}, {"public.s": (3, False)}, {"views": 1})

    assert contents.find_differences(golden, golden) == []
    assert [str(difference) for difference in contents.find_differences(golden, clone)] == [
        "extensions `pg_trgm`: 1.3 in a in golden, 1.6 in a in the clone",
        "tables `public.t`: 2 in golden, missing in the clone",
        "sequences `public.s`: (3, True) in golden, (3, False) in the clone",
        "objects `views`: missing in golden, 1 in the clone",
    ]


def test_view_in_place_of_a_table_is_refused(database):
    """A role that replaces its table by a view between two queries of ours cannot have its code run."""
    if database.execute("SELECT current_setting('restrict_nonsystem_relation_kind', true)").fetchone() == (None,):
        pytest.skip("this minor release of PostgreSQL cannot refuse views")
    database.execute("CREATE VIEW v AS SELECT 1 AS i")
    with database.transaction():
        contents.read_contents(database)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="view"), database.transaction():
            database.execute("SELECT count(*) FROM v")
