"""
Check that an account is usable, with a query for each of its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, LiteralString

from tasks_lib.loquent.account_blocks import dry_run
from tasks_lib.loquent.block import read_values
from tasks_lib.loquent.blocks import BLOCKS
from tasks_lib.loquent.credentials import verify_password

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.loquent.block import Inputs
    from tasks_lib.loquent.credentials import Credentials

State = Literal["ok", "broken", "skipped"]


@dataclass(frozen=True)
class Check:
    """
    A check of one part of the account.

    Attributes:
        blocks: The blocks that make this part.
        found: A query that returns one text about what exists.
        broken: A query that returns a text for each thing that exists but does not work.
        emails: The names of the parameters with the emails that must be able to sign in.
    """

    title: str
    blocks: tuple[str, ...]
    found: LiteralString
    broken: LiteralString = "SELECT '' WHERE false"
    emails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """The result of a check: what exists, or what is wrong."""

    title: str
    state: State
    text: str


CHECKS = (
    Check(
        "user, account, organization, owner",
        ("user", "account", "organization", "owner"),
        "SELECT %(owner)s || ' owns ' || name || ' and can sign in' FROM organization WHERE id = %(organization_id)s",
        "SELECT %(owner)s || ' is not an owner' FROM member WHERE id = %(owner_member_id)s AND NOT is_owner",
        emails=("owner",),
    ),
    Check(
        "tags, notification preferences",
        ("tags", "preferences"),
        """
        SELECT (SELECT count(*) FROM tag WHERE organization_id = %(organization_id)s AND is_default)
            || ' default tags, '
            || (SELECT count(*) FROM notification_preference WHERE user_id = %(owner_id)s) || ' preferences'
        """,
    ),
    Check(
        "twilio",
        ("twilio",),
        """
        SELECT account_sid || CASE WHEN sms_events_active AND call_events_active THEN ', events active' ELSE '' END
        FROM organization_twilio_settings WHERE organization_id = %(organization_id)s
        """,
        "SELECT 'the row marks the account as the customer''s' FROM organization_twilio_settings "
        "WHERE organization_id = %(organization_id)s AND is_byo",
    ),
    Check(
        "phone numbers",
        ("numbers", "text-reply"),
        """
        SELECT count(*) || ', ' || coalesce(min(number) FILTER (WHERE slug = 'text-reply'), 'none')
            || ' answered by Text Reply'
        FROM phone_number LEFT JOIN ai_agent ON ai_agent.id = ai_agent_id
        WHERE phone_number.organization_id = %(organization_id)s
        """,
        """
        SELECT number || ' is answered by an agent of no organization or of another one'
        FROM phone_number JOIN ai_agent ON ai_agent.id = ai_agent_id
        WHERE phone_number.organization_id = %(organization_id)s
            AND ai_agent.organization_id IS DISTINCT FROM phone_number.organization_id
        """,
    ),
    Check(
        "AI agent clones",
        ("agents",),
        """
        SELECT string_agg(clone.name, ', ' ORDER BY clone.name)
        FROM ai_agent AS clone
        WHERE (clone.organization_id, clone.user_id) = (%(organization_id)s, %(owner_id)s)
            AND system_source_id IS NOT NULL
        """,
        """
        SELECT clone.name || ' is cloned, though the platform has only one' FROM ai_agent AS clone
        WHERE organization_id = %(organization_id)s AND slug = 'agent-creator' AND system_source_id IS NOT NULL
        """,
    ),
    Check(
        "subscription, plan",
        ("subscription", "budget"),
        """
        SELECT tier.name || ' until ' || current_period_end::date || ', ' || included_credits || ' credits'
        FROM organization_subscription
        JOIN subscription_tier AS tier ON tier.id = subscription_tier_id
        LEFT JOIN org_budget USING (organization_id)
        WHERE organization_id = %(organization_id)s
        """,
        """
        SELECT problem FROM organization_subscription
        JOIN subscription_tier AS tier ON tier.id = subscription_tier_id,
        LATERAL (VALUES
            ('it is ' || status, status <> 'active'),
            ('it ended on ' || current_period_end::date, current_period_end < now()),
            (tier.name || ' is not the highest tier',
             sort_order < (SELECT max(sort_order) FROM subscription_tier))
        ) AS checks (problem, is_so)
        WHERE organization_id = %(organization_id)s AND is_so
        """,
    ),
    Check(
        "second staff member",
        ("staff",),
        """
        SELECT %(staff)s || ' is ' || status || ' and can sign in' FROM staff_presence
        WHERE member_id = %(staff_member_id)s
        """,
        "SELECT %(staff)s || ' is an owner' FROM member WHERE id = %(staff_member_id)s AND is_owner",
        emails=("staff",),
    ),
    Check(
        "contacts, messages, tasks, calls",
        ("contacts", "rich-contact", "conversation"),
        """
        SELECT count(*) || ' contacts, ' || (SELECT count(*) FROM message JOIN contact AS one ON one.id = contact_id
                WHERE organization_id = %(organization_id)s) || ' messages, '
            || (SELECT count(*) FROM task JOIN contact AS one ON one.id = contact_id
                WHERE organization_id = %(organization_id)s) || ' tasks, '
            || (SELECT count(*) FROM contact_note JOIN contact AS one ON one.id = contact_id
                WHERE organization_id = %(organization_id)s) || ' notes, '
            || (SELECT count(*) FROM call JOIN contact AS one ON one.id = contact_id
                WHERE organization_id = %(organization_id)s) || ' calls'
        FROM contact WHERE organization_id = %(organization_id)s
        """,
    ),
)


def verify_account(connection: Connection[Any], inputs: Inputs, credentials: Credentials) -> list[Finding]:
    """Return the result of each check, without changing anything or asking Twilio."""
    outcomes = {outcome.block: outcome for outcome in dry_run(connection, BLOCKS, inputs)}
    known = read_values(connection, inputs)
    findings = []
    for check in CHECKS:
        here = [outcomes[name] for name in check.blocks]
        wrong = [f"no {', '.join(outcome.made)}" for outcome in here if outcome.state == "made"]
        wrong += [row[0] for row in connection.execute(check.broken, known)]
        wrong += [problem for name in check.emails if (problem := _sign_in(connection, known[name], credentials))]
        skipped = [f"{outcome.block}: {outcome.reason}" for outcome in here if outcome.state == "skipped"]
        row = connection.execute(check.found, known).fetchone()
        there = [str(row[0])] if row and row[0] else []
        if wrong:
            findings.append(Finding(check.title, "broken", "; ".join(wrong)))
        elif len(skipped) == len(here):
            findings.append(Finding(check.title, "skipped", "; ".join(skipped)))
        else:
            findings.append(Finding(check.title, "ok", "; ".join(there + skipped)))
    return findings


def _sign_in(connection: Connection[Any], email: str, credentials: Credentials) -> str:
    """Return why signing in as *email* fails; empty if it works."""
    row = connection.execute(
        'SELECT password_hash FROM email_password_account JOIN "user" ON id = user_id WHERE email = %s', [email]
    ).fetchone()
    if row is None:
        return ""  # the block of the account already reports that it is missing
    password = credentials.password(email)
    if password is None:
        return f"the password of {email} is not in {credentials.path.name}"
    return (
        ""
        if verify_password(password, row[0])
        else f"the password of {email} in {credentials.path.name} is not the right one"
    )
