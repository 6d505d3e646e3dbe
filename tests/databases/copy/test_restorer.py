"""A dump of an ordinary role's golden template is restored without our role's rights, and arrives whole."""

from __future__ import annotations

import pytest
from psycopg import sql

from tasks_lib.databases.copy import restorer
from tasks_lib.databases.ownership import temporaries
from tasks_lib.databases.ownership.drop import new_temporary_name
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import CloneError

pytestmark = pytest.mark.every_major

# Wherever a restore may call it, it takes back the rights of the login and makes a role, if it can.
HOSTILE = """
CREATE FUNCTION act(word text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    before text := current_setting('role');
BEGIN
    BEGIN PERFORM set_config('role', 'none', false); EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXCEPTION WHEN OTHERS THEN NULL; END;
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        BEGIN EXECUTE 'CREATE ROLE {prefix}_' || word; EXCEPTION WHEN duplicate_object THEN NULL; END;
    END IF;
    BEGIN PERFORM set_config('role', before, false); EXCEPTION WHEN OTHERS THEN NULL; END;
    RETURN true;
END $$;
CREATE FUNCTION same(i int, word text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
    'BEGIN PERFORM public.act(word); RETURN i; END';
CREATE FUNCTION act_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.act(''trigger''); RETURN NEW; END';
CREATE DOMAIN checked AS int CHECK (act('domain'));
CREATE DOMAIN quoted AS int CHECK (act('literal'));
CREATE TABLE t (i int DEFAULT same(1, 'default') CHECK (act('check')), d checked,
    g int GENERATED ALWAYS AS (same(1, 'generated')) STORED);
INSERT INTO t VALUES (1, 1), (2, 2);
CREATE TABLE p (i int) PARTITION BY RANGE ((i + same(0, 'partition')));
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);
INSERT INTO p VALUES (1), (2);
CREATE INDEX ON t (same(i, 'index'));
CREATE STATISTICS s ON i, d FROM t;
CREATE VIEW v AS SELECT '{{1}}'::quoted[] AS q;
CREATE MATERIALIZED VIEW m AS SELECT i, act('view') FROM t;
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION act_row();
ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY po ON t USING (act('policy'));
CREATE RULE r AS ON INSERT TO p DO ALSO SELECT act('rule');
"""

# As the superuser, and as golden's ordinary owner.
PREPARED = r"""
CREATE SCHEMA app AUTHORIZATION {owner}; CREATE SCHEMA "o'dd ""x""\ Schema" AUTHORIZATION {owner};
COMMENT ON SCHEMA app IS E'two\n-- Name: f; Type: FUNCTION; Schema: app; Owner: x\nlines, it''s';
CREATE EXTENSION hstore SCHEMA app; CREATE EXTENSION pg_trgm SCHEMA app VERSION '1.3';
COMMENT ON EXTENSION hstore IS E'our\nown; ''words''';
ALTER SCHEMA public OWNER TO CURRENT_USER; COMMENT ON SCHEMA public IS 'shared';
REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE, CREATE ON SCHEMA public TO {owner};
GRANT USAGE ON SCHEMA public TO {reader} WITH GRANT OPTION;
"""
OWNED = r"""
SET search_path = app;
CREATE COLLATION plain FROM "C"; COMMENT ON COLLATION plain IS 'plain';
CREATE TABLE public.hen (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE plain, h hstore);
INSERT INTO public.hen (name, h) VALUES ('ada', 'a=>1'), ('bob', NULL);
CREATE INDEX ON public.hen USING gin (name gin_trgm_ops);
CREATE TABLE egg (hen int REFERENCES public.hen CHECK (hen > 0), twice int GENERATED ALWAYS AS (hen * 2) STORED);
INSERT INTO egg VALUES (1), (2);
CREATE MATERIALIZED VIEW eggs AS SELECT count(*) FROM egg;
CREATE AGGREGATE joined(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
CREATE TYPE span AS RANGE (SUBTYPE = int4);
CREATE TABLE "o'dd ""x""\ Schema"."select" (i int);
SELECT lo_from_bytea(4712, '\xcafe'); COMMENT ON LARGE OBJECT 4712 IS 'a picture';
GRANT SELECT ON LARGE OBJECT 4712 TO {reader};
GRANT USAGE ON SCHEMA app TO {reader}; GRANT SELECT ON public.hen TO {reader} WITH GRANT OPTION;
GRANT UPDATE (name) ON public.hen TO {reader};
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO {reader};
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
"""
SAME = [
    "SELECT pg_get_userbyid(datdba), datacl::text FROM pg_database WHERE datname = current_database()",
    (
        "SELECT nspname, nspowner::regrole::text, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(nspacl) a) "
        "FROM pg_namespace ORDER BY 1"
    ),
    (
        "SELECT oid::regclass::text, relowner::regrole::text, relacl::text FROM pg_class "
        "WHERE oid >= 16384 AND relkind <> 't' AND relname !~ '^pg_toast' ORDER BY 1"
    ),
    "SELECT extname, extversion, extowner::regrole::text, extnamespace::regnamespace FROM pg_extension ORDER BY 1",
    "SELECT proname, proowner::regrole::text FROM pg_proc WHERE oid >= 16384 ORDER BY 1, 2",
    (
        "SELECT classoid::regclass::text, objsubid, description FROM pg_description "
        "WHERE objoid >= 16384 OR objoid = 2200 OR classoid = 'pg_largeobject'::regclass ORDER BY 1, 2, 3"
    ),
    "SELECT oid, lo_get(oid), lomowner::regrole::text, lomacl::text FROM pg_largeobject_metadata",
    "SELECT defaclrole::regrole::text, defaclobjtype, defaclacl::text FROM pg_default_acl ORDER BY 1, 2",
    "SELECT id, name, h::text FROM public.hen ORDER BY 1",
    "SELECT * FROM app.egg ORDER BY 1",
    "SELECT * FROM app.eggs",
]


def as_role(place, golden, role, script, *, password=None):
    """Run *script* in *golden* as *role*."""
    with place.connect(golden, user=role, password=password or role) as connection:
        connection.execute(script)


def roles(place):
    """Return the names of all roles."""
    return {name for (name,) in place.admin.execute("SELECT rolname FROM pg_roles")}


def logins(place):
    """Return the names of roles that were made for a restore."""
    return [name for name in roles(place) if name.startswith("goldentree_tmp_")]


def test_functions_of_golden_run_without_our_rights(place):
    """Nothing that golden's owner has put into golden runs as our superuser, at any point of a clone."""
    owner = place.role("LOGIN")
    golden = place.golden(owner=owner)
    as_role(place, golden, owner, HOSTILE.format(prefix=f"by_{owner}"))
    before = roles(place)
    made = place.clone(golden)
    place.roles += sorted(roles(place) - before)

    assert sorted(roles(place) - before) == []
    assert place.rows(made.database, "SELECT i, d, g FROM t ORDER BY 1") == [(1, 1, 1), (2, 2, 1)]
    assert place.said == [f"dumping {golden}, as configured"]


def test_restore_as_owner_is_whole(place):
    """What an ordinary owner has arrives with owners, privileges, comments, extensions and large objects."""
    reader, password = place.role("LOGIN"), place.role("LOGIN")
    owner = place.roles[-1] = f'{password} o\'dd \\ "x"'
    place.run("ALTER ROLE {} RENAME TO {}", password, owner)
    quoted = sql.Identifier(owner).as_string(place.admin)
    golden = place.golden(PREPARED.format(owner=quoted, reader=reader))
    as_role(place, golden, owner, OWNED.format(owner=quoted, reader=reader), password=password)
    made = place.clone(golden)

    assert place.said == [f"dumping {golden}, as configured"]
    for query in SAME:
        assert place.assert_same_rows(golden, made.database, query)
    assert place.schema(made.database) == place.schema(golden)
    assert not logins(place)


def test_code_of_several_owners_is_announced(place):
    """Where one ordinary role cannot restore everything, the narration says once whose code gets our rights."""
    owner = place.role("LOGIN")
    for script in ("CREATE TABLE t ()", "GRANT EXECUTE ON FUNCTION pg_ls_dir(text) TO pg_monitor"):
        golden = place.golden(script, owner=owner)
        as_role(place, golden, owner, "CREATE SCHEMA theirs")
        place.said.clear()
        place.clone(golden)

        (_, said) = place.said
        assert f"anyone who may create objects in {golden} can run code as" in said


def test_role_of_the_options_does_not_confine(place):
    """A superuser that sets a role in its URL is still one to golden's functions, and that is announced."""
    owner = place.role("LOGIN CREATEDB")
    golden = place.golden(owner=owner)
    as_role(place, golden, owner, "CREATE TABLE t AS SELECT 1 AS i")
    server = Server(DatabaseUrl.parse(place.server.url.conninfo(options=f"-c role={owner}")))
    place.clone(golden, server=server)

    assert f"anyone who may create objects in {golden} can run code as goldentree" in place.said[1]


def test_objects_of_the_login_fail_the_clone(place):
    """A function that creates objects behind golden's owner's back fails the clone; the login is dropped."""
    owner = place.role("LOGIN")
    golden = place.golden(owner=owner)
    script = f"""
        CREATE FUNCTION f(i int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
            IF session_user <> current_user THEN
                SET ROLE none; CREATE TABLE public.stray (); SET ROLE {owner};
            END IF;
            RETURN true;
        END $$;
        CREATE TABLE t (i int CHECK (f(i))); INSERT INTO t VALUES (1)"""
    as_role(place, golden, owner, script)
    before = roles(place), place.databases()
    with pytest.raises(CloneError, match="has created objects that do not belong"):
        place.clone(golden)
    assert (roles(place), place.databases()) == before


@pytest.mark.parametrize("created", [True, False], ids=["with its database", "alone"])
def test_login_of_a_killed_process_is_dropped(place, created):
    """What a killed process leaves of a restore, the next one drops: the database and the role of that name."""
    golden, name = place.golden(), new_temporary_name()
    folder = place.source(golden).folder / "temporaries"
    folder.mkdir(parents=True)
    (identifier,) = place.admin.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    (folder / name).write_text(identifier)
    place.run("CREATE ROLE {} LOGIN", name)
    if created:
        place.run("CREATE DATABASE {}", name)
    temporaries.drop_abandoned(place.source(golden), place.admin)

    assert name not in roles(place) | place.databases()
    assert not list(folder.iterdir())


def test_server_that_rejects_the_login_is_announced(place, monkeypatch):
    """Where pg_hba.conf lets only known roles in, our role restores, and the narration says what that means."""
    owner = place.role("LOGIN")
    golden = place.golden(owner=owner)
    as_role(place, golden, owner, "CREATE TABLE t AS SELECT 1 AS i")
    monkeypatch.setattr(restorer.secrets, "token_urlsafe", lambda _: "")  # the server asks for a password
    made = place.clone(golden)

    assert "the server does not let a temporary role log in" in place.said[1]
    assert place.rows(made.database, "SELECT i FROM t") == [(1,)]
    assert not logins(place)


@pytest.mark.parametrize("owns_golden", [True, False])
def test_owners_failure_is_not_repeated_with_our_rights(place, owns_golden):
    """What cannot be restored as its owner fails and leaves nothing: golden's functions could force the failure."""
    owner = place.role("LOGIN")
    golden = place.golden(owner=owner if owns_golden else None)
    place.execute(golden, f"GRANT CREATE ON SCHEMA public TO {owner}")
    script = """
        CREATE FUNCTION f(i int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
            IF session_user <> current_user THEN RAISE 'only with your rights'; END IF;
            RETURN true;
        END $$;
        CREATE TABLE t (i int CHECK (f(i))); INSERT INTO t VALUES (1)"""
    as_role(place, golden, owner, script)
    before = roles(place), place.databases()
    with pytest.raises(CloneError, match="only with your rights") as caught:
        place.clone(golden)
    assert f"log in as `{owner}`" in caught.value.hint
    assert (roles(place), place.databases()) == before
