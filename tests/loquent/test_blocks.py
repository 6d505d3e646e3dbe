"""The rows that each block makes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks_lib.errors import DatabaseError
from tasks_lib.loquent.block import make_block
from tasks_lib.loquent.blocks.agents import AGENTS, COLUMNS, SOURCES
from tasks_lib.loquent.blocks.plan import BUDGET, SUBSCRIPTION
from tasks_lib.loquent.blocks.telephony import TEXT_REPLY
from tasks_lib.loquent.fixture import ACCOUNT, INPUTS, NUMBER, SEED


def columns(connection, row):
    """Return the one *row*, by the names of its columns."""
    cursor = connection.execute(row)
    [values] = cursor.fetchall()
    return dict(zip([column.name for column in cursor.description], values, strict=True))


def test_people_can_sign_in(account):
    """An owner and a member without a role, both of whom may sign in; default tags; the owner's preferences."""
    assert account.rows(
        """
        SELECT email, is_owner, password_hash = '$fixture$nobody-can-sign-in-with-this', verified_at IS NOT NULL, status
        FROM "user" JOIN email_password_account AS password ON password.user_id = id
        JOIN member ON member.user_id = "user".id LEFT JOIN staff_presence ON member_id = member.id
        ORDER BY email
        """
    ) == [
        ("owner@example.com", True, True, True, None),
        ("staff@example.com", False, True, True, "available"),
    ]
    assert account.rows("SELECT slug FROM organization") == [("loquent-dev",)]
    assert account.column("SELECT is_default FROM tag") == [True] * 3
    assert len(account.rows("""SELECT FROM notification_preference JOIN "user" ON id = user_id AND is_enabled""")) == 3


def test_plan_is_the_highest_tier(account):
    """The highest tier with every feature, for a year, with no object of Stripe's behind it."""
    found = columns(
        account.connection,
        """
        SELECT slug, sort_order, sort_order = (SELECT max(sort_order) FROM subscription_tier) AS is_highest, status,
            current_period_start <= now() AND now() < current_period_end AS is_running,
            current_period_end = current_period_start + interval '1 year' AS is_a_year, stripe_subscription_id,
            (SELECT bool_and(value::bool) FROM jsonb_each_text(to_jsonb(tier)) WHERE key LIKE 'has!_%' ESCAPE '!')
                AS has_all
        FROM organization_subscription JOIN subscription_tier AS tier ON tier.id = subscription_tier_id
        """,
    )
    assert found == {
        "slug": "enterprise",
        "sort_order": 30,
        "is_highest": True,
        "status": "active",
        "is_running": True,
        "is_a_year": True,
        "stripe_subscription_id": None,
        "has_all": True,
    }


@pytest.mark.parametrize(
    ("tier", "seats", "gross", "included"),
    [("enterprise", 2, 40_000, (0, 0, 0)), ("pro", 3, 15_000, (2500, 500, 2000)), ("free", 1, 100, (0, 0, 0))],
)
def test_budget_counts_credits_by_seat(account, tier, seats, gross, included):
    """Credits are counted by seat, and all of them are left; a tier without a number has none."""
    if tier != "enterprise":
        account.run(
            "DELETE FROM org_budget",
            f"UPDATE organization_subscription SET seats = {seats}, subscription_tier_id = id"
            f" FROM subscription_tier WHERE slug = '{tier}'",
        )
        account.fill([SUBSCRIPTION, BUDGET])
    assert account.rows(
        "SELECT initial_included_credits, included_credits, sms_included, call_minutes_included, ai_messages_included"
        " FROM org_budget"
    ) == [(gross, gross, *included)]


def test_twilio_row_fits_the_account(empty):
    """The shared account's row has its sink and active events; a subaccount's has neither."""
    keys = {
        "event_sink_sid": "DG1",
        "sms_subscription_sid": "DF2",
        "call_subscription_sid": "DF3",
        "twiml_app_sid": "AP4",
        "api_key_sid": "SK5",
        "api_key_secret": "secret",
    }
    query = "SELECT *, connected_at = now() AS is_now FROM organization_twilio_settings"
    shared = replace(INPUTS, seed=replace(SEED, shared=replace(SEED.shared, **keys)))
    sub = replace(ACCOUNT, sid="AC" + "b" * 32, token="of the subaccount")
    for inputs, expected in [
        (shared, {"account_sid": ACCOUNT.sid, "auth_token": ACCOUNT.token, **keys}),
        (
            replace(INPUTS, seed=replace(SEED, shared=None, parent=ACCOUNT), twilio=lambda: sub, numbers=None),
            {"account_sid": sub.sid, "auth_token": sub.token, **dict.fromkeys(keys)},
        ),
    ]:
        empty.run("DELETE FROM organization")
        empty.fill(inputs=inputs)
        found = columns(empty.connection, query)
        assert {name: found[name] for name in expected} == expected
        assert (found["is_byo"], found["is_now"]) == (False, True)
        assert found["sms_events_active"] is found["call_events_active"] is (inputs is shared)
    assert empty.rows("SELECT FROM phone_number") == []


def test_first_text_number_has_text_reply(empty):
    """Each number has its capabilities; Text Reply answers the first that receives text messages."""
    numbers = tuple(
        replace(NUMBER, number=f"+1500555{n:04}", sid=f"PN{n:032x}", sms=sms, voice=voice, voice_webhook=voice)
        for n, sms, voice in [(4, True, True), (3, True, False), (1, False, True)]
    )
    inputs = replace(INPUTS, numbers=numbers)
    empty.fill(inputs=inputs)
    query = """
        SELECT right(number, 1), ai_agent_sms_enabled, ai_agent_call_enabled, voice_webhook_active, routing_mode,
            slug || is_unedited_clone
        FROM phone_number LEFT JOIN ai_agent ON ai_agent.id = ai_agent_id ORDER BY number
    """
    bound = [
        ("1", False, True, True, "staff", None),
        ("3", True, False, False, "ai_agent", "text-replytrue"),
        ("4", True, True, True, "staff", None),
    ]
    assert empty.rows(query) == bound
    make_block(empty.connection, TEXT_REPLY, inputs)
    assert empty.rows(query) == bound
    assert empty.column(
        "SELECT DISTINCT right(number, 1) FROM message JOIN phone_number AS n ON n.id = phone_number_id"
    ) == ["3"]
    empty.run("UPDATE phone_number SET ai_agent_id = NULL, routing_mode = 'voicemail'")
    make_block(empty.connection, TEXT_REPLY, inputs)
    assert empty.column("SELECT DISTINCT routing_mode FROM phone_number") == ["voicemail"], "as people have set it"


def test_owner_has_clones_of_agents(account):
    """The owner has an unedited clone of each default agent: memory empty, skills switched alike, edges to clones."""
    assert account.rows(
        """
        SELECT slug, content,
            (SELECT array_agg(skill.slug || is_enabled ORDER BY skill.slug)
             FROM ai_agent_skill JOIN skill ON skill.id = skill_id WHERE ai_agent_id = clone.id),
            (SELECT array_agg(callee.slug || CASE WHEN callee.user_id = clone.user_id THEN '' ELSE ' itself' END
                ORDER BY callee.slug)
             FROM ai_agent_can_invoke JOIN ai_agent AS callee ON callee.id = callee_id WHERE caller_id = clone.id)
        FROM ai_agent AS clone JOIN ai_agent_memory ON ai_agent_id = clone.id
        JOIN "user" ON "user".id = user_id AND email = 'owner@example.com'
        WHERE is_unedited_clone ORDER BY slug
        """
    ) == [
        ("follow-up-drafter", "", ["message-draftingtrue"], None),
        ("loquent-assistant", "", ["contact-searchtrue", "task-planningfalse"], ["follow-up-drafter"]),
        (
            "master-orchestrator",
            "",
            ["delegationtrue"],
            ["agent-creator itself", "follow-up-drafter", "loquent-assistant"],
        ),
        ("text-reply", "", ["contact-searchfalse", "message-draftingtrue"], None),
    ]
    assert len(account.rows("SELECT FROM ai_agent")) == 9
    assert set(SOURCES) == set(account.column("SELECT slug FROM ai_agent WHERE organization_id IS NOT NULL"))


def test_clone_has_every_copied_column(empty):
    """The clone has the source's value in each column marked as copied, also if it is not the default."""
    empty.run(
        """UPDATE ai_agent SET instructions = slug || ' Ü', model = '{"name": "x", "tools": [1, null]}'""",
        "UPDATE ai_agent_skill SET is_enabled = NOT is_enabled",
    )
    empty.fill()
    copied = [name for name, what in COLUMNS["ai_agent"].items() if what == "copied"]
    assert {"slug", "name", "instructions", "model"} <= set(copied)
    for name in copied:
        assert empty.column(
            f"SELECT clone.{name} = source.{name} FROM ai_agent AS clone"
            " JOIN ai_agent AS source ON source.id = clone.system_source_id"
        ) == [True] * len(SOURCES), name
    links = """
        SELECT skill_id, is_enabled FROM ai_agent_skill JOIN ai_agent ON id = ai_agent_id
        WHERE slug = ANY(ARRAY['master-orchestrator', 'loquent-assistant', 'follow-up-drafter', 'text-reply'])
            AND organization_id IS {} NULL ORDER BY 1, 2
    """
    assert empty.rows(links.format("NOT")) == empty.rows(links.format(""))


def test_columns_match_the_schema_exactly(account):
    """COLUMNS names every column of the four tables, and no other."""
    found = {table: set() for table in COLUMNS}
    for table, column in account.rows(
        "SELECT table_name, column_name FROM information_schema.columns"
        f" WHERE table_schema = 'public' AND table_name IN {tuple(COLUMNS)}"
    ):
        found[table].add(column)
    assert found == {table: set(columns) for table, columns in COLUMNS.items()}


@pytest.mark.parametrize("table", COLUMNS)
def test_unknown_column_stops_the_build(empty, table):
    """The error names the column, even if it has a default; a dropped column is ignored."""
    empty.run(f"ALTER TABLE {table} ADD COLUMN temperature real DEFAULT 1")
    with pytest.raises(DatabaseError, match=f"the clone of an agent has no value for `{table}.temperature`") as stopped:
        empty.fill()
    assert stopped.value.hint.endswith("in tasks_lib/loquent/blocks/agents.py")
    assert empty.rows("SELECT FROM ai_agent WHERE organization_id IS NOT NULL") == []
    empty.run(f"ALTER TABLE {table} DROP COLUMN temperature")
    assert [outcome.state for outcome in empty.fill([AGENTS])] == ["made"]


def test_samples_are_ten_reachable_contacts(account):
    """Ten contacts who can be reached, some of them tagged; one of them has everything."""
    assert account.rows(
        """
        SELECT count(DISTINCT contact.id), count(DISTINCT number) FILTER (WHERE is_primary), count(DISTINCT tag_id),
            count(tag_id)
        FROM contact JOIN contact_phone ON contact_phone.contact_id = contact.id
        LEFT JOIN contact_tag ON contact_tag.contact_id = contact.id
        """
    ) == [(10, 10, 3, 5)]
    assert account.rows("SELECT full_name, messages FROM contact_overview WHERE messages > 0") == [("Zoë Ångström", 4)]
    assert account.rows(
        """
        SELECT direction, slug, sent_at < now(), sent_at > lag(sent_at) OVER (ORDER BY sent_at), number
        FROM message JOIN phone_number ON phone_number.id = phone_number_id
        LEFT JOIN ai_agent ON ai_agent.id = message.ai_agent_id ORDER BY sent_at
        """
    ) == [
        ("inbound", None, True, None, NUMBER.number),
        ("outbound", "text-reply", True, True, NUMBER.number),
        ("inbound", None, True, True, NUMBER.number),
        ("outbound", "text-reply", True, True, NUMBER.number),
    ]
    assert account.rows(
        """
        SELECT priority, completed_at < due_at, due_at > now(), email
        FROM task JOIN member ON member.id = assignee_id JOIN "user" ON "user".id = user_id ORDER BY due_at
        """
    ) == [("normal", True, False, "staff@example.com"), ("high", None, True, "staff@example.com")]
    assert account.rows(
        """
        SELECT area, email FROM contact_note
        LEFT JOIN member ON member.id = author_id LEFT JOIN "user" ON "user".id = user_id ORDER BY area
        """
    ) == [("ai_summary", None), ("manual", "owner@example.com")]
    assert account.rows(
        "SELECT status, duration_secs, transcription <> '', recording_url, number, started_at < now()"
        " FROM call JOIN phone_number ON phone_number.id = phone_number_id"
    ) == [("completed", 94, True, "https://recordings.example.com/1.mp3", NUMBER.number, True)]
    [contact] = account.column(
        "SELECT contact_id FROM task UNION SELECT contact_id FROM contact_note UNION SELECT contact_id FROM call"
    )
    assert account.rows(f"SELECT first_name FROM contact WHERE id = '{contact}'") == [("Zoë",)]


def test_daylight_saving_changes_nothing(empty):
    """Rows that are identified by their time are found again across a change of daylight saving time."""
    empty.run("SET LOCAL timezone = 'Europe/Berlin'")
    empty.fill()
    empty.run("UPDATE contact SET created_at = '2026-03-28 12:00+01'", "DELETE FROM message", "DELETE FROM call")
    empty.run("DELETE FROM contact_note")
    empty.fill()
    empty.run("SET LOCAL timezone = 'Asia/Tokyo'")
    assert {outcome.state for outcome in empty.fill()} == {"there"}
