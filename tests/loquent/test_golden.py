from __future__ import annotations

import secrets
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from tasks_lib.errors import DatabaseError
from tasks_lib.loquent import golden


@contextmanager
def disposable(server_url, **options):
    """Yield the URL of a new golden template; drop it afterwards."""
    name = f"loquent_{secrets.token_hex(4)}"
    golden.create(make_conninfo(server_url, **options), name)
    try:
        yield make_conninfo(server_url, dbname=name)
    finally:
        with psycopg.connect(server_url, autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def golden_url(server_url):
    with disposable(server_url) as url:
        yield url


@pytest.fixture
def db(golden_url):
    """Connect to the shared golden template; roll every change back."""
    with psycopg.connect(golden_url) as connection:
        yield connection
        connection.rollback()


def column(connection, query):
    return [row[0] for row in connection.execute(query)]


def exists(connection, name):
    return connection.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [name]).fetchone() == (1,)


def contents(url):
    """Return every row of every table, view and materialized view, and the state of every sequence."""
    with psycopg.connect(make_conninfo(url, options="-c timezone=UTC")) as connection:
        relations = connection.execute(
            """
            SELECT relname, CASE relkind WHEN 'S' THEN 'last_value, is_called' ELSE '*' END
            FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'S')
            """
        ).fetchall()
        query = "SELECT {} FROM {}"
        return {
            name: sorted(map(str, connection.execute(sql.SQL(query).format(sql.SQL(state), sql.Identifier(name)))))
            for name, state in relations
        }


@pytest.mark.parametrize(("label", "rows"), [("contacts", 3), ("agents", 9), ("phones", 1)])
def test_holds_the_rows_that_seed_000_counts(db, label, rows):
    """The labels of seed 000's verification lead to tables with its row counts."""
    count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(golden.PROOF_TABLES[label]))

    assert [rows] == column(db, count)


def test_ledger_runs_from_the_first_table_to_the_head_of_seed_000(db):
    """297 migrations are applied, named as SeaORM names them, the last one at 320000."""
    versions = column(db, "SELECT version FROM seaql_migrations ORDER BY applied_at")

    assert len(versions) == 297
    assert sorted(versions) == versions
    assert versions[0] == "m20240101_000001_create_user"
    assert versions[-1].startswith("m20260601_320000_")


def test_is_as_large_as_the_real_one(db):
    """120 tables and about 17 MB, which the benchmarks are calibrated on."""
    assert column(db, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [120]
    (megabytes,) = column(db, "SELECT pg_database_size(current_database()) / 1048576.0")
    assert megabytes == pytest.approx(17, abs=1.5)


def test_clones_every_system_agent_but_agent_creator(db):
    """The owner has an unedited clone of each default agent, with memory, skills and edges of its own."""
    clones = db.execute(
        """
        SELECT name, is_unedited_clone, content,
            (SELECT array_agg(skill.slug || is_enabled ORDER BY skill.slug)
             FROM ai_agent_skill JOIN skill ON skill.id = skill_id WHERE ai_agent_id = ai_agent.id),
            (SELECT array_agg(callee.name ORDER BY callee.name)
             FROM ai_agent_can_invoke JOIN ai_agent AS callee ON callee.id = callee_id WHERE caller_id = ai_agent.id)
        FROM ai_agent JOIN ai_agent_memory ON ai_agent_id = ai_agent.id
        WHERE system_source_id IS NOT NULL ORDER BY name
        """
    ).fetchall()

    assert clones == [
        ("Follow-up Drafter", True, "", ["message-draftingtrue"], None),
        ("Loquent Assistant", True, "", ["contact-searchtrue", "task-planningfalse"], ["Follow-up Drafter"]),
        (
            "Master Orchestrator",
            True,
            "",
            ["delegationtrue"],
            ["Agent Creator", "Follow-up Drafter", "Loquent Assistant"],
        ),
        ("Text Reply", True, "", ["contact-searchfalse", "message-draftingtrue"], None),
    ]


def test_number_answers_with_the_owners_text_agent(db):
    """The number is bound to the clone, not to the system agent."""
    assert column(
        db,
        "SELECT slug = 'text-reply' AND is_unedited_clone FROM phone_number JOIN ai_agent ON ai_agent.id = ai_agent_id",
    ) == [True]


def test_two_builds_are_equal(server_url, golden_url):
    """Neither the clock nor the session's time zone and date style leave a trace."""
    with disposable(server_url, options="-c timezone=Pacific/Auckland -c datestyle=German") as other_url:
        assert contents(golden_url) == contents(other_url)


@pytest.mark.parametrize(
    "orphan",
    [
        pytest.param(statement, id=label)
        for label, statement in {
            "account before user": """
                INSERT INTO email_password_account (user_id, password_hash) VALUES (gen_random_uuid(), '$')""",
            "member before user": """
                INSERT INTO member (organization_id, user_id) SELECT id, gen_random_uuid() FROM organization""",
            "presence before member": "INSERT INTO staff_presence (member_id) VALUES (gen_random_uuid())",
            "budget before subscription": "UPDATE org_budget SET organization_id = new.id FROM new",
            "number before twilio settings": "UPDATE phone_number SET organization_id = new.id FROM new",
            "agent before member": "UPDATE ai_agent SET organization_id = new.id FROM new WHERE user_id IS NOT NULL",
            "skill link before agent": "UPDATE ai_agent_skill SET ai_agent_id = gen_random_uuid()",
            "edge before agent": "UPDATE ai_agent_can_invoke SET callee_id = gen_random_uuid()",
            "tag link before contact": "UPDATE contact_tag SET contact_id = gen_random_uuid()",
            "message before number": "UPDATE message SET phone_number_id = gen_random_uuid()",
            "call before contact": "UPDATE call SET contact_id = gen_random_uuid()",
        }.items()
    ],
)
def test_wrong_build_order_fails(db, orphan):
    """A row that comes before what it needs is refused by a foreign key."""
    db.execute("CREATE TEMP TABLE new AS SELECT gen_random_uuid() AS id")
    db.execute("INSERT INTO organization (id, name, slug) SELECT id, 'Another', 'another' FROM new")

    with pytest.raises(errors.ForeignKeyViolation):
        db.execute(orphan)


def takes_its_rows_twice(connection, table, columns):
    again = sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM {0}").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    try:
        with connection.transaction():
            connection.execute(again)
    except errors.UniqueViolation:
        return False
    return True


def test_missing_guard_fails(server_url):
    """Rows inserted a second time, under new ids, meet a unique key in every table of the account."""
    # A database of its own: what the attempts draw from sequences is not rolled back.
    with disposable(server_url) as url, psycopg.connect(url) as db:
        tables = db.execute(
            """
            SELECT relname, array_agg(attname::text)
            FROM pg_class
            JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
            LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND reltuples > 0 AND relname <> 'audit_log'
                AND attgenerated = '' AND coalesce(pg_get_expr(adbin, adrelid) !~ 'gen_random_uuid|nextval', true)
            GROUP BY relname
            """
        ).fetchall()
        assert len(tables) == 26

        assert [table for table, names in tables if takes_its_rows_twice(db, table, names)] == []


@pytest.mark.parametrize(
    "nonsense",
    [
        "UPDATE ai_agent SET is_unedited_clone = true WHERE system_source_id IS NULL",
        "UPDATE ai_agent_can_invoke SET callee_id = caller_id",
        "UPDATE phone_number SET number = '500 555'",
        "UPDATE org_budget SET included_credits = initial_included_credits + 1",
        "UPDATE organization_subscription SET current_period_end = current_period_start",
        "UPDATE call SET duration_secs = NULL",
        "UPDATE contact SET custom_fields = '[]'",
    ],
)
def test_nonsense_fails(db, nonsense):
    """A row that contradicts itself is refused by a check."""
    with pytest.raises(errors.CheckViolation):
        db.execute(nonsense)


def test_derived_values_follow_an_update(db):
    """The generated column and the trigger work."""
    renamed = db.execute(
        "UPDATE contact SET first_name = 'Zoé' WHERE email LIKE 'zoe@%' RETURNING full_name, updated_at = now()"
    ).fetchall()

    assert renamed == [("Zoé Ångström", True)]


def test_has_what_a_careless_copy_loses(db):
    """A sequence ahead of its rows, a filled materialized view, comments, partial and expression indexes."""
    assert db.execute("SELECT last_value, is_called FROM task_number_seq").fetchall() == [(5000, False)]
    assert column(db, "SELECT relispopulated FROM pg_class WHERE relname = 'audit_summary'") == [True]
    assert column(
        db,
        "SELECT count(*) FROM pg_description"
        " WHERE objoid IN ('ai_agent'::regclass, 'email_password_account'::regclass)",
    ) == [2]
    assert column(
        db,
        "SELECT coalesce(indpred, indexprs) IS NOT NULL FROM pg_index"
        " WHERE indexrelid IN ('task_open'::regclass, 'tag_name_per_organization'::regclass)",
    ) == [True, True]


def test_has_a_trigram_index_where_the_server_offers_one(db):
    """pg_trgm and its index come together or not at all."""
    offered = column(db, "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'")

    assert offered == column(db, "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'")
    assert offered == column(db, "SELECT count(*) FROM pg_class WHERE relname = 'contact_full_name_trigram'")


def test_existing_name_is_refused(server_url, golden_url):
    """A second create says what is in the way and leaves it alone."""
    with psycopg.connect(golden_url) as connection:
        (name,) = column(connection, "SELECT current_database()")

    with pytest.raises(DatabaseError, match=f"the database `{name}` already exists"):
        golden.create(server_url, name)

    with psycopg.connect(golden_url) as connection:
        assert column(connection, "SELECT count(*) FROM contact") == [3]


def test_failed_fill_leaves_no_database(server_url):
    """When the schema cannot be made, the new database is dropped again."""
    name = f"loquent_{secrets.token_hex(4)}"

    with pytest.raises(DatabaseError, match="no schema has been selected"):
        golden.create(make_conninfo(server_url, options="-c search_path=nowhere"), name)

    with psycopg.connect(server_url) as server:
        assert not exists(server, name)
