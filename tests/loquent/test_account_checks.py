"""`golden.verify`: each check is ok, broken or skipped, and changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from argon2 import PasswordHasher

from tasks_lib.loquent.account_checks import CHECKS, verify_account
from tasks_lib.loquent.credentials import Credentials
from tasks_lib.loquent.fixture import ACCOUNT, INPUTS, NUMBER, SEED

PEOPLE, TAGS, TWILIO, NUMBERS, AGENTS, PLAN, STAFF, SAMPLES = (check.title for check in CHECKS)

# A verification makes no request to Twilio.
SEEN = replace(INPUTS, numbers=None)


@pytest.fixture
def usable(account, tmp_path):
    """Give an account whose people can sign in."""
    account.credentials = Credentials(tmp_path / ".local-credentials")
    for email in SEED.owner_email, SEED.staff_email:
        password, _ = account.credentials.ensure(email)
        # The lowest cost, which is part of the hash.
        digest = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)
        account.connection.execute(
            """UPDATE email_password_account SET password_hash = %s FROM "user" WHERE id = user_id AND email = %s""",
            [digest, email],
        )
    return account


def look(account, inputs=SEEN):
    """Return the finding of each check, by its title."""
    with account.sealed():
        findings = verify_account(account.connection, inputs, account.credentials)
    assert [finding.title for finding in findings] == [check.title for check in CHECKS]
    return {finding.title: (finding.state, finding.text) for finding in findings}


def test_usable_account_passes_every_check(usable):
    """Every check is ok and summarizes what it found."""
    [year] = usable.column("SELECT (now() + interval '1 year')::date")
    assert look(usable) == {
        PEOPLE: ("ok", "owner@example.com owns Loquent Dev and can sign in"),
        TAGS: ("ok", "3 default tags, 3 preferences"),
        TWILIO: ("ok", f"{ACCOUNT.sid}, events active"),
        NUMBERS: ("ok", f"1, {NUMBER.number} answered by Text Reply"),
        AGENTS: ("ok", "Follow-up Drafter, Loquent Assistant, Master Orchestrator, Text Reply"),
        PLAN: ("ok", f"Enterprise until {year}, 40000 credits"),
        STAFF: ("ok", "staff@example.com is available and can sign in"),
        SAMPLES: ("ok", "10 contacts, 4 messages, 2 tasks, 2 notes, 1 calls"),
    }


# Which check breaks, by what, and what it says.
BREAKS = {
    "no owner": (
        PEOPLE,
        ["DELETE FROM email_password_account"],
        "no owner@example.com",
    ),
    "an owner without rights": (PEOPLE, ["UPDATE member SET is_owner = false"], "owner@example.com is not an owner"),
    "another password": (
        PEOPLE,
        ["UPDATE email_password_account SET password_hash = '$other'"],
        "the password of owner@example.com in .local-credentials is not the right one",
    ),
    "a tag": (TAGS, ["DELETE FROM tag WHERE name = 'Lead'"], "no Lead"),
    "a preference": (TAGS, ["DELETE FROM notification_preference WHERE event = 'task.due'"], "no task.due"),
    "no settings of Twilio": (
        TWILIO,
        ["DELETE FROM message", "DELETE FROM call", "DELETE FROM organization_twilio_settings"],
        f"no {ACCOUNT.sid}",
    ),
    "an account of the customer's": (
        TWILIO,
        ["UPDATE organization_twilio_settings SET is_byo = true"],
        "the row marks the account as the customer's",
    ),
    "no number": (
        NUMBERS,
        ["DELETE FROM message", "DELETE FROM call", "DELETE FROM phone_number"],
        f"no numbers of {ACCOUNT.sid}; no Text Reply on a number",
    ),
    "no agent answers": (NUMBERS, ["UPDATE phone_number SET ai_agent_id = NULL"], "no Text Reply on a number"),
    "an agent of no organization answers": (
        NUMBERS,
        ["UPDATE phone_number SET ai_agent_id = (SELECT id FROM ai_agent WHERE slug = 'agent-creator')"],
        "+15005550006 is answered by an agent of no organization or of another one",
    ),
    "the system's own Text Reply answers": (
        NUMBERS,
        [
            """
            UPDATE phone_number SET ai_agent_id = system_source_id FROM ai_agent AS agent WHERE agent.id = ai_agent_id
            """
        ],
        "+15005550006 is answered by an agent of no organization or of another one",
    ),
    "a clone": (
        AGENTS,
        ["DELETE FROM ai_agent WHERE slug = 'text-reply' AND organization_id IS NOT NULL"],
        "no Text Reply",
    ),
    "a clone too many": (
        AGENTS,
        [
            """
            INSERT INTO ai_agent (organization_id, user_id, system_source_id, slug, name, instructions)
            SELECT member.organization_id, member.user_id, source.id, source.slug, source.name, ''
            FROM ai_agent AS source, member WHERE source.slug = 'agent-creator' AND is_owner
            """
        ],
        "Agent Creator is cloned, though the platform has only one",
    ),
    "no plan": (PLAN, ["DELETE FROM organization_subscription"], "no enterprise; no credits"),
    "a plan that was cancelled": (
        PLAN,
        ["UPDATE organization_subscription SET status = 'canceled'"],
        "it is canceled",
    ),
    "a plan that has ended": (
        PLAN,
        ["UPDATE organization_subscription SET current_period_start = '2020-01-01', current_period_end = '2020-02-01'"],
        "it ended on 2020-02-01",
    ),
    "a lesser plan": (
        PLAN,
        ["UPDATE organization_subscription SET subscription_tier_id = id FROM subscription_tier WHERE slug = 'pro'"],
        "Pro is not the highest tier",
    ),
    "no member": (
        STAFF,
        ["""DELETE FROM "user" WHERE email LIKE 'staff@%'"""],
        "no staff@example.com, account, member, presence",
    ),
    "another password of the member": (
        STAFF,
        ["UPDATE email_password_account SET password_hash = '$other'"],
        "the password of staff@example.com in .local-credentials is not the right one",
    ),
    "two owners": (
        STAFF,
        ["DROP INDEX member_one_owner", "UPDATE member SET is_owner = true"],
        "staff@example.com is an owner",
    ),
    "a contact": (SAMPLES, ["DELETE FROM contact WHERE email LIKE 'ben@%'"], "no Ben O'Hara"),
    "no conversation": (
        SAMPLES,
        ["DELETE FROM message WHERE body LIKE 'Yes%'", "DELETE FROM call"],
        "no message 3, call",
    ),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_broken_account_fails_its_check(usable, broken):
    """The check for the broken part says what is wrong."""
    title, statements, text = BREAKS[broken]
    usable.run(*statements)
    assert look(usable)[title] == ("broken", text)


def test_unknown_password_fails_the_check(usable):
    """A login whose password is not in .local-credentials cannot be used."""
    usable.credentials.path.unlink()
    found = look(usable)
    assert found[PEOPLE] == ("broken", "the password of owner@example.com is not in .local-credentials")
    assert found[STAFF] == ("broken", "the password of staff@example.com is not in .local-credentials")
    assert not usable.credentials.path.exists()


def test_skipped_blocks_skip_their_check(usable):
    """A check is skipped if all its blocks are; skipped parts are mentioned, and existing parts are ok."""
    inputs = replace(SEEN, seed=replace(SEED, shared=None, sample_data=False))
    assert {state for state, _ in look(usable, inputs).values()} == {"ok"}
    unset = "TWILIO_WORKTREE_SUBACCOUNT_SID is not set in seed.env"
    usable.run("DELETE FROM message", "DELETE FROM call", "UPDATE phone_number SET ai_agent_sms_enabled = false")
    usable.run("UPDATE phone_number SET ai_agent_id = NULL")
    assert look(usable)[NUMBERS] == (
        "ok",
        "1, none answered by Text Reply; text-reply: no number is free that receives text messages",
    )
    usable.run("DELETE FROM organization_twilio_settings")
    found = look(usable, inputs)
    assert found[TWILIO] == ("skipped", f"twilio: {unset}")
    assert found[NUMBERS] == ("skipped", f"numbers: {unset}; text-reply: needs numbers, which is skipped")
    off = "SEED_SAMPLE_DATA is 0 in seed.env"
    assert found[SAMPLES] == ("ok", f"10 contacts, 0 messages, 2 tasks, 2 notes, 0 calls; conversation: {off}")
    usable.run("DELETE FROM contact")
    assert look(usable, inputs)[SAMPLES] == ("skipped", f"contacts: {off}; rich-contact: {off}; conversation: {off}")


def test_empty_database_fails_every_check(empty, tmp_path):
    """On an empty database every check is broken, and none raises."""
    empty.credentials = Credentials(tmp_path / ".local-credentials")
    assert {state for state, _ in look(empty).values()} == {"broken"}
