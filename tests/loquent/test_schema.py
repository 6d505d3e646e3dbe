"""The schema: strict enough that a wrong build order or a missing guard fails, and refused where it is not the one."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors, sql

from tasks_lib.errors import DatabaseError
from tasks_lib.loquent import schema


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
            "preference before user": "UPDATE notification_preference SET user_id = gen_random_uuid()",
            "tag before organization": "UPDATE tag SET organization_id = gen_random_uuid()",
            "subscription before tier": "UPDATE organization_subscription SET subscription_tier_id = gen_random_uuid()",
            "budget before subscription": "UPDATE org_budget SET organization_id = new.id FROM new",
            "settings before organization": """
                UPDATE organization_twilio_settings SET organization_id = gen_random_uuid()""",
            "number before twilio settings": "UPDATE phone_number SET organization_id = new.id FROM new",
            "number before agent": "UPDATE phone_number SET ai_agent_id = gen_random_uuid()",
            "agent before member": "UPDATE ai_agent SET organization_id = new.id FROM new WHERE user_id IS NOT NULL",
            "memory before agent": "INSERT INTO ai_agent_memory (ai_agent_id) VALUES (gen_random_uuid())",
            "skill link before agent": "UPDATE ai_agent_skill SET ai_agent_id = gen_random_uuid()",
            "edge before agent": "UPDATE ai_agent_can_invoke SET callee_id = gen_random_uuid()",
            "contact before organization": "UPDATE contact SET organization_id = gen_random_uuid()",
            "phone before contact": "UPDATE contact_phone SET contact_id = gen_random_uuid()",
            "tag link before contact": "UPDATE contact_tag SET contact_id = gen_random_uuid()",
            "message before number": "UPDATE message SET phone_number_id = gen_random_uuid()",
            "task before member": "UPDATE task SET assignee_id = gen_random_uuid()",
            "note before contact": "UPDATE contact_note SET contact_id = gen_random_uuid()",
            "call before contact": "UPDATE call SET contact_id = gen_random_uuid()",
        }.items()
    ],
)
def test_wrong_build_order_fails(account, orphan):
    """A row that is inserted before a row it needs violates a foreign key."""
    account.run(
        "CREATE TEMP TABLE new AS SELECT gen_random_uuid() AS id",
        "INSERT INTO organization (id, name, slug) SELECT id, 'Another', 'another' FROM new",
    )
    with pytest.raises(errors.ForeignKeyViolation):
        account.run(orphan)


def takes_its_rows_twice(account, table, columns):
    again = sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM {0}").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    try:
        with account.connection.transaction():
            account.run(again)
    except errors.UniqueViolation:
        return False
    return True


def test_duplicate_rows_violate_a_key(account):
    """Rows inserted a second time, under new ids, meet a unique key in every table of the account."""
    tables = account.rows(
        f"""
        SELECT relname, array_agg(attname::text)
        FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relname IN {schema.TABLES}
            AND attgenerated = '' AND coalesce(pg_get_expr(adbin, adrelid) !~ 'gen_random_uuid|nextval', true)
        GROUP BY relname
        """
    )
    assert {table for table, _ in tables} == set(schema.TABLES)
    assert [table for table, names in tables if takes_its_rows_twice(account, table, names)] == []


@pytest.mark.parametrize(
    "nonsense",
    [
        """UPDATE "user" SET email = 'Olivia@example.com'""",
        "UPDATE email_password_account SET password_hash = 'secret'",
        "UPDATE ai_agent SET is_unedited_clone = true WHERE system_source_id IS NULL",
        "UPDATE ai_agent_can_invoke SET callee_id = caller_id",
        "UPDATE organization_twilio_settings SET account_sid = 'AC0'",
        "UPDATE organization_twilio_settings SET api_key_sid = 'SK0'",
        "UPDATE phone_number SET number = '500 555'",
        "UPDATE org_budget SET included_credits = initial_included_credits + 1",
        "UPDATE organization_subscription SET current_period_end = current_period_start",
        "UPDATE message SET ai_agent_id = (SELECT id FROM ai_agent LIMIT 1)",
        "UPDATE contact_note SET author_id = (SELECT id FROM member LIMIT 1)",
        "UPDATE call SET duration_secs = NULL",
        "UPDATE contact SET custom_fields = '[]'",
    ],
)
def test_contradictory_row_violates_a_check(account, nonsense):
    """A row that contradicts itself is refused by a check."""
    with pytest.raises(errors.CheckViolation):
        account.run(nonsense)


def test_derived_values_follow_an_update(account):
    """The generated column and the trigger work."""
    renamed = account.rows(
        "UPDATE contact SET first_name = 'Zoé' WHERE email LIKE 'zoe@%' RETURNING full_name, updated_at = now()"
    )
    assert renamed == [("Zoé Ångström", True)]


def test_has_a_trigram_index_where_the_server_offers_one(account):
    """pg_trgm and its index come together or not at all."""
    offered = account.column("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'")

    assert offered == account.column("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'")
    assert offered == account.column("SELECT count(*) FROM pg_class WHERE relname = 'contact_full_name_trigram'")


def test_a_schema_of_another_product(server_url, account):
    """It is refused before any row is made, and the error names the missing tables."""
    with psycopg.connect(server_url) as elsewhere, pytest.raises(DatabaseError) as refused:
        schema.require_account_schema(elsewhere, "acme_latest")
    said = str(refused.value)
    assert "the schema of `acme_latest` is not Loquent's: it has no `user`, `email_password_account`," in said
    assert f"and {len(schema.TABLES) - 5} more" in said
    assert "inv golden.pull" in refused.value.hint
    schema.require_account_schema(account.connection, "loquent_latest")
    account.run("ALTER TABLE staff_presence RENAME TO presences")
    with pytest.raises(DatabaseError, match=r"it has no `staff_presence`\n"):
        schema.require_account_schema(account.connection, "loquent_latest")


def test_a_schema_without_its_rows(account):
    """Without the tier and the system's agents, which the migrations make, no row is made."""
    account.run(
        # Their clones stay.
        "UPDATE ai_agent SET slug = slug || '-old' WHERE organization_id IS NULL AND slug ~ 'reply|creator'",
        "UPDATE subscription_tier SET slug = 'corporate' WHERE slug = 'enterprise'",
    )
    with pytest.raises(DatabaseError, match=r"lacks the tier enterprise, the system agent text-reply\n") as refused:
        schema.require_account_schema(account.connection, "loquent_latest")
    assert "apply all migrations" in refused.value.hint
