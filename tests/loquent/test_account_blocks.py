"""Build the account: existing rows stay, missing ones are added, and a dry run predicts the result."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks_lib.databases.compare import fingerprint
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import DatabaseError, SettingsError
from tasks_lib.loquent.account_blocks import Outcome, dry_run, make_missing, select_blocks
from tasks_lib.loquent.block import make_block
from tasks_lib.loquent.blocks import BLOCKS
from tasks_lib.loquent.fixture import ACCOUNT, INPUTS, NUMBER, SEED
from tasks_lib.loquent.safety import connect_with_search_path

NAMES = [block.name for block in BLOCKS]

OWNER = """(SELECT id FROM "user" WHERE email LIKE 'owner@%')"""
CREATOR = "(SELECT id FROM ai_agent WHERE slug = 'agent-creator')"
ORCHESTRATOR = "(SELECT id FROM ai_agent WHERE organization_id IS NOT NULL AND slug = 'master-orchestrator')"
REPLY = "(SELECT id FROM ai_agent WHERE organization_id IS NOT NULL AND slug = 'text-reply')"
ANOTHER = "INSERT INTO organization (name, slug) VALUES ('Another', 'another')"


def never(*_):
    raise AssertionError("called although nothing is missing")


def made(outcomes):
    return {outcome.block: list(outcome.made) for outcome in outcomes if outcome.state == "made"}


def reasons(outcomes):
    return {outcome.block: outcome.reason for outcome in outcomes if outcome.state == "skipped"}


def test_building_again_changes_nothing(account_url):
    """The fingerprint stays: after all blocks, after each alone, and after the statements that no check held back."""
    server = Server(DatabaseUrl.parse(account_url))
    database = server.url.database
    with connect_with_search_path(server, database) as connection:
        [oid] = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
        before = fingerprint.read_from(server, database, oid)
        assert before.digest
        inputs = replace(INPUTS, hash_of=never, twilio=never)
        for blocks in [BLOCKS, *([block] for block in BLOCKS)]:
            outcomes = make_missing(connection, blocks, inputs)
            assert [(outcome.block, outcome.state) for outcome in outcomes] == [
                (block.name, "there") for block in blocks
            ]
            assert fingerprint.read_from(server, database, oid) == before, blocks
        for block in BLOCKS:
            make_block(connection, block, INPUTS)
            assert fingerprint.read_from(server, database, oid) == before, block.name


MESSAGES = ["DELETE FROM message", "DELETE FROM call"]
REMOVALS = {
    "user": [f'DELETE FROM "user" WHERE id = {OWNER}'],
    "account": [f"DELETE FROM email_password_account WHERE user_id = {OWNER}"],
    "organization": ["DELETE FROM organization"],
    "owner": ["DELETE FROM member WHERE is_owner"],
    "tags": ["DELETE FROM tag"],
    "preferences": ["DELETE FROM notification_preference"],
    "subscription": ["DELETE FROM organization_subscription"],
    "budget": ["DELETE FROM org_budget"],
    "twilio": [*MESSAGES, "DELETE FROM organization_twilio_settings"],
    "numbers": [*MESSAGES, "DELETE FROM phone_number"],
    "agents": ["DELETE FROM ai_agent WHERE organization_id IS NOT NULL"],
    "text-reply": ["UPDATE phone_number SET ai_agent_id = NULL, routing_mode = 'staff'"],
    "staff": ["""DELETE FROM "user" WHERE email LIKE 'staff@%'"""],
    "contacts": ["DELETE FROM contact"],
    "rich-contact": ["DELETE FROM task", "DELETE FROM contact_note"],
    "conversation": MESSAGES,
}
# The schema's ON DELETE SET NULL: a message without its agent is as good as any.
EMPTIED = {
    "user": ["message.ai_agent_id", "contact_note.author_id"],
    "owner": ["message.ai_agent_id", "contact_note.author_id"],
    "agents": ["message.ai_agent_id"],
    "staff": ["task.assignee_id"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_removed_block_comes_back(account, name):
    """One run makes the block and all that was deleted with it again, as before."""
    emptied = EMPTIED.get(name, ())
    before = account.contents(without=emptied)
    account.run(*REMOVALS[name])
    assert account.contents(without=emptied) != before
    planned = account.dry_run()
    outcomes = account.fill()

    assert planned == outcomes
    assert name in made(outcomes)
    assert reasons(outcomes) == {}
    assert account.contents(without=emptied) == before
    assert made(account.fill()) == {}


# What is deleted; what is made; how many rows of which tables are written then.
PARTS = {
    "a tag": (
        "DELETE FROM tag WHERE name = 'Lead'",
        {"tags": ["Lead"], "contacts": ["tag of Ben O'Hara", "tag of 小明"]},
        {"tag": 1, "contact_tag": 2},
    ),
    "the tag of a contact": (
        "DELETE FROM contact_tag USING contact WHERE id = contact_id AND email LIKE 'zoe@%'",
        {"contacts": ["tag of Zoë Ångström"]},
        {"contact_tag": 1},
    ),
    "a preference": (
        "DELETE FROM notification_preference WHERE event = 'task.due'",
        {"preferences": ["task.due"]},
        {"notification_preference": 1},
    ),
    "a clone": (
        "DELETE FROM ai_agent WHERE organization_id IS NOT NULL AND slug = 'follow-up-drafter'",
        {"agents": ["Follow-up Drafter", "edge of Loquent Assistant", "edge of Master Orchestrator"]},
        {"ai_agent": 1, "ai_agent_memory": 1, "ai_agent_skill": 1, "ai_agent_can_invoke": 2},
    ),
    "a memory": (
        f"DELETE FROM ai_agent_memory WHERE ai_agent_id = {REPLY}",
        {"agents": ["memory of Text Reply"]},
        {"ai_agent_memory": 1},
    ),
    "a skill": (
        f"DELETE FROM ai_agent_skill WHERE ai_agent_id = {REPLY} AND NOT is_enabled",
        {"agents": ["skill of Text Reply"]},
        {"ai_agent_skill": 1},
    ),
    "an edge": (
        f"DELETE FROM ai_agent_can_invoke WHERE (caller_id, callee_id) = ({ORCHESTRATOR}, {CREATOR})",
        {"agents": ["edge of Master Orchestrator"]},
        {"ai_agent_can_invoke": 1},
    ),
    "the member's presence": ("DELETE FROM staff_presence", {"staff": ["presence"]}, {"staff_presence": 1}),
    "the member's password": (
        f"DELETE FROM email_password_account WHERE user_id <> {OWNER}",
        {"staff": ["account"]},
        {"email_password_account": 1},
    ),
    "the member": (
        "DELETE FROM member WHERE NOT is_owner",
        {"staff": ["member", "presence"]},
        {"member": 1, "staff_presence": 1},
    ),
    "a contact": (
        "DELETE FROM contact WHERE email LIKE 'ben@%'",
        {"contacts": ["Ben O'Hara"]},
        {"contact": 1, "contact_phone": 1, "contact_tag": 1},
    ),
    "the phone of a contact": (
        "DELETE FROM contact_phone USING contact WHERE contact.id = contact_id AND email LIKE 'tom@%'",
        {"contacts": ["phone of Tom Nguyen"]},
        {"contact_phone": 1},
    ),
    "a task": ("DELETE FROM task WHERE priority = 'high'", {"rich-contact": ["task: Ask for a review"]}, {"task": 1}),
    "a note": (
        "DELETE FROM contact_note WHERE area = 'ai_summary'",
        {"rich-contact": ["note: ai_summary"]},
        {"contact_note": 1},
    ),
    "a message": ("DELETE FROM message WHERE body LIKE 'Yes%'", {"conversation": ["message 3"]}, {"message": 1}),
    "the call": ("DELETE FROM call", {"conversation": ["call"]}, {"call": 1}),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_removed_part_comes_back(account, part):
    """The part is made again as before, and nothing else is written; existing passwords are kept."""
    removal, expected, written = PARTS[part]
    emptied = {"the member": ["task.assignee_id"]}.get(part, ())
    before = account.contents(without=emptied)
    account.run(removal)
    counts, planned, asked = account.counts(), account.dry_run(), []
    outcomes = account.fill(inputs=replace(INPUTS, hash_of=lambda email: asked.append(email) or INPUTS.hash_of(email)))

    assert made(outcomes) == expected
    assert planned == outcomes
    assert account.counts() - counts == written
    assert account.contents(without=emptied) == before
    assert asked == [SEED.staff_email] * written.get("email_password_account", 0)


# What people do to an account, and what is skipped because of it.
CHANGES = {
    "a clone is edited": (
        [
            f"UPDATE ai_agent SET is_unedited_clone = false, name = 'Mine', model = '{{}}' WHERE id = {ORCHESTRATOR}",
            f"DELETE FROM ai_agent_skill WHERE ai_agent_id = {ORCHESTRATOR}",
            f"DELETE FROM ai_agent_can_invoke WHERE caller_id = {ORCHESTRATOR}",
            "UPDATE ai_agent_memory SET content = 'Ada is the boss.'",
        ],
        {},
    ),
    "skills of clones are switched": (["UPDATE ai_agent_skill SET is_enabled = NOT is_enabled"], {}),
    "another agent has the number": (
        [f"UPDATE phone_number SET ai_agent_id = {ORCHESTRATOR}"],
        {"text-reply": "no number is free that receives text messages"},
    ),
    "contacts are edited": (
        [
            "UPDATE contact SET first_name = 'Zoé', email = upper(email)",
            "UPDATE contact_phone SET number = '+493012345' || right(number, 2)",
        ],
        {},
    ),
    "what was said is edited": (
        [
            "UPDATE message SET body = 'Hello'",
            "UPDATE call SET transcription = 'Hi', status = 'missed', duration_secs = NULL",
            "UPDATE contact_note SET body = 'Nice'",
            "UPDATE task SET completed_at = now(), assignee_id = NULL, due_at = NULL",
        ],
        {},
    ),
    "tags and preferences are edited": (
        [
            "UPDATE tag SET name = upper(name), color = '#000000', is_default = false",
            "UPDATE notification_preference SET is_enabled = false",
        ],
        {},
    ),
    "the subscription is cancelled": (
        [
            "UPDATE organization_subscription SET status = 'canceled', seats = 9",
            "UPDATE org_budget SET included_credits = 1",
        ],
        {},
    ),
    "the plan is another": (
        ["UPDATE organization_subscription SET subscription_tier_id = id FROM subscription_tier WHERE slug = 'free'"],
        {},
    ),
    "Twilio's settings are of another account": (
        [
            "UPDATE organization_twilio_settings SET account_sid = 'AC' || repeat('f', 32), auth_token = 'other'",
            "UPDATE phone_number SET number = '+4930123456', twilio_sid = 'PN' || repeat('f', 32)",
        ],
        {"numbers": f"the organization is connected to AC{'f' * 32}, which is not the account of seed.env"},
    ),
    "the passwords are changed": (["UPDATE email_password_account SET password_hash = '$new', verified_at = NULL"], {}),
    "people are renamed and away": (
        ["""UPDATE "user" SET display_name = 'Ada'""", "UPDATE staff_presence SET status = 'offline'"],
        {},
    ),
    "the organization is renamed": (["UPDATE organization SET slug = 'acme', name = 'Acme'"], {}),
    "the owner is a guest elsewhere": (
        [
            ANOTHER,
            f"""
            INSERT INTO member (organization_id, user_id, joined_at)
            SELECT id, {OWNER}, '2020-01-01' FROM organization WHERE slug = 'another'
            """,
        ],
        {},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_by_users_are_kept(account, change):
    """A build neither overwrites a change nor adds rows beside it."""
    statements, skipped = CHANGES[change]
    account.run(*statements)
    before, counts = account.contents(), account.counts()
    outcomes = account.fill(inputs=replace(INPUTS, hash_of=never, twilio=never))

    assert made(outcomes) == {}
    assert reasons(outcomes) == skipped
    assert account.counts() == counts
    assert account.contents() == before


def test_organization_of_another_owner_is_refused(account):
    """An organization with our slug must have our owner, who may be one of two."""
    account.run("UPDATE member SET is_owner = false", f"UPDATE member SET is_owner = true WHERE user_id <> {OWNER}")
    with pytest.raises(DatabaseError, match="`loquent-dev` belongs to staff@") as refused:
        account.dry_run()
    assert refused.value.hint == "set SEED_OWNER_EMAIL=staff@example.com in seed.env"
    account.run("DROP INDEX member_one_owner", f"UPDATE member SET is_owner = true WHERE user_id = {OWNER}")
    assert made(account.fill()) == {}


@pytest.mark.parametrize("beginning", range(len(BLOCKS)))
def test_partial_account_is_completed(account, beginning):
    """After the first blocks alone, the next run makes the rest, and the same account."""
    whole = account.contents()
    account.run("DELETE FROM organization", 'DELETE FROM "user"')
    account.fill(BLOCKS[:beginning])
    outcomes = account.fill()

    assert list(made(outcomes)) == NAMES[beginning:]
    assert account.contents() == whole


def numbers(*capable):
    """Return a number for each, which receives text messages or does not."""
    return tuple(replace(NUMBER, number=f"+1500555000{n}", sid=f"PN{n:032x}", sms=sms) for n, sms in enumerate(capable))


OTHER = replace(ACCOUNT, sid="AC" + "f" * 32)
WISHES = {
    "all": INPUTS,
    "two numbers": replace(INPUTS, numbers=numbers(False, True)),
    "no number for text messages": replace(INPUTS, numbers=numbers(False)),
    "no numbers": replace(INPUTS, numbers=()),
    "another account": replace(
        INPUTS, seed=replace(SEED, shared=replace(SEED.shared, account=OTHER)), twilio=lambda: OTHER
    ),
    "a subaccount": replace(INPUTS, seed=replace(SEED, shared=None, parent=ACCOUNT), numbers=None),
    "no Twilio": replace(INPUTS, seed=replace(SEED, shared=None), twilio=never, numbers=None),
    "no samples": replace(INPUTS, seed=replace(SEED, sample_data=False)),
}
STATES = {
    "nothing": ["DELETE FROM organization", 'DELETE FROM "user"'],
    "people alone": ["DELETE FROM organization"],
    "without its owner": REMOVALS["user"],
    "without numbers": REMOVALS["numbers"],
    "without Twilio, agents and tags": [*REMOVALS["twilio"], *REMOVALS["agents"], *REMOVALS["tags"]],
    "with one number, which is taken": [
        *MESSAGES,
        f"UPDATE phone_number SET ai_agent_id = {ORCHESTRATOR}",
    ],
    "with a number for calls alone": [*REMOVALS["text-reply"], "UPDATE phone_number SET ai_agent_sms_enabled = false"],
    "without samples and staff": [*REMOVALS["contacts"], *REMOVALS["staff"]],
    "everything": [],
}


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("state", STATES)
def test_dry_run_predicts_the_build(account, state, wish):
    """The dry run writes nothing and has the outcomes of the build; the next one finds nothing to make."""
    inputs = WISHES[wish]
    account.run(*STATES[state])
    planned = account.dry_run(inputs=inputs)
    assert account.fill(inputs=inputs) == planned
    again = account.fill(inputs=inputs)
    assert made(again) == {}
    assert reasons(again) == reasons(planned)


def test_skipped_blocks_have_a_reason(empty):
    """A skipped block has a reason, and the blocks that need it are skipped too."""
    unset = "TWILIO_WORKTREE_SUBACCOUNT_SID is not set in seed.env"
    off = "SEED_SAMPLE_DATA is 0 in seed.env"
    assert reasons(empty.dry_run(inputs=WISHES["no Twilio"])) == {
        "twilio": unset,
        "numbers": unset,
        "text-reply": "needs numbers, which is skipped",
        "conversation": "needs numbers, which is skipped",
    }
    assert reasons(empty.dry_run(inputs=WISHES["no samples"])) == {
        "contacts": off,
        "rich-contact": off,
        "conversation": off,
    }
    assert reasons(empty.dry_run(inputs=WISHES["no numbers"])) == {
        "numbers": f"the account {ACCOUNT.sid} has none",
        "text-reply": "needs numbers, which is skipped",
        "conversation": "needs numbers, which is skipped",
    }
    assert reasons(empty.dry_run(inputs=WISHES["no number for text messages"])) == {
        "text-reply": "no number is free that receives text messages"
    }
    assert reasons(empty.dry_run(inputs=replace(INPUTS, numbers=None))) == {}, "the best is expected"
    assert dry_run(None, BLOCKS, WISHES["no samples"]) == [
        Outcome(name, "skipped", reason=off)
        if name in ("contacts", "rich-contact", "conversation")
        else Outcome(name, "made")
        for name in NAMES
    ]


def test_numbers_of_another_organization_stay_there(account):
    """The numbers stay there, and the conversation, which needs one, is skipped."""
    account.run(
        *MESSAGES,
        ANOTHER,
        "INSERT INTO organization_twilio_settings (organization_id, account_sid, auth_token)"
        " SELECT id, 'AC' || repeat('f', 32), 'other' FROM organization WHERE slug = 'another'",
        "UPDATE phone_number SET ai_agent_id = NULL, organization_id = new.id"
        " FROM organization AS new WHERE slug = 'another'",
    )
    planned = account.dry_run()
    assert made(planned) == {}
    assert reasons(planned) == {
        "numbers": f"those of {ACCOUNT.sid} are all another organization's",
        "text-reply": "needs numbers, which is skipped",
        "conversation": "needs numbers, which is skipped",
    }
    assert account.fill() == planned


def test_single_block_needs_its_requirements(account):
    """A block is skipped if one that it needs is missing or skipped; a complete block needs nothing."""
    assert [block.name for block in select_blocks("agents")] == ["agents"]
    assert select_blocks(None) == BLOCKS
    with pytest.raises(SettingsError, match="block `agent` does not exist") as unknown:
        select_blocks("agent")
    assert unknown.value.hint == f"one of: {', '.join(NAMES)}"

    account.run("DELETE FROM staff_presence", *REMOVALS["numbers"])
    assert [outcome.state for outcome in account.fill(select_blocks("rich-contact"))] == ["there"]
    account.run("DELETE FROM contact_note")
    counts = account.counts()
    for ask in account.dry_run, account.fill:
        with pytest.raises(DatabaseError) as refused:
            ask(select_blocks("rich-contact"))
        assert "block `rich-contact` needs block `staff`, which is incomplete: presence" in str(refused.value)
        assert refused.value.hint.startswith("inv golden.build --only staff ")
    for name in "text-reply", "conversation":
        for ask in account.dry_run, account.fill:
            assert reasons(ask(select_blocks(name), WISHES["no Twilio"])) == {name: "needs numbers, which is skipped"}
            with pytest.raises(DatabaseError, match=rf"`{name}` needs block `numbers`, which is incomplete: \+1500"):
                ask(select_blocks(name))
    assert account.counts() == counts
    for name in "staff", "rich-contact", "numbers", "text-reply", "conversation":
        assert made(account.fill(select_blocks(name))).keys() == {name}
    assert made(account.fill()) == {}


def test_schema_that_redirects_rows_is_an_error(account):
    """A block that is still incomplete is an error, as is a refused row, whose secrets are not shown."""
    account.run(
        *REMOVALS["budget"],
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER swallow BEFORE INSERT ON org_budget FOR EACH ROW EXECUTE FUNCTION swallow()",
    )
    with pytest.raises(DatabaseError, match="block `budget` was made, but is still incomplete: credits"):
        account.fill()
    account.run("DROP TRIGGER swallow ON org_budget", *REMOVALS["twilio"])
    account.run("ALTER TABLE organization_twilio_settings ADD COLUMN region text NOT NULL")
    secret = replace(ACCOUNT, token="canary-5f2c")
    with pytest.raises(DatabaseError, match="block `twilio` cannot be made") as refused:
        account.fill(inputs=replace(INPUTS, twilio=lambda: secret))
    assert "canary" not in str(refused.value)


def test_missing_column_is_an_error(account):
    """The error names the block and the column that the schema lacks."""
    account.run("DELETE FROM org_budget", "ALTER TABLE org_budget RENAME COLUMN sms_included TO texts_included")
    with pytest.raises(DatabaseError, match=r"block `budget` does not fit the schema: .*sms_included"):
        account.fill()
