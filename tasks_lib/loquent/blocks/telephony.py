"""
Twilio settings and phone numbers. These are only rows: nothing changes at Twilio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.loquent.block import Block
from tasks_lib.loquent.seed_env import WIRING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from tasks_lib.loquent.block import Inputs
    from tasks_lib.loquent.seed_env import Seed


def _no_account(seed: Seed) -> str:
    return "" if seed.shared or seed.parent else "TWILIO_WORKTREE_SUBACCOUNT_SID is not set in seed.env"


def _not_shared(seed: Seed) -> str:
    return "" if seed.shared else "TWILIO_WORKTREE_SUBACCOUNT_SID is not set in seed.env"


def _account(connection: Connection[Any], values: Mapping[str, Any], inputs: Inputs) -> Mapping[str, Any]:
    account, shared = inputs.twilio(), inputs.seed.shared
    # Only the shared account has an event sink.
    wiring = {name: getattr(shared, name, None) for name in WIRING}
    return {**wiring, "sid": account.sid, "token": account.token, "events": shared is not None}


TWILIO = Block(
    "twilio",
    missing="""
        SELECT coalesce(%(twilio_sid)s, 'subaccount')
        WHERE NOT EXISTS (SELECT FROM organization_twilio_settings WHERE organization_id = %(organization_id)s)
    """,
    make=(
        """
        INSERT INTO organization_twilio_settings (
            organization_id, account_sid, auth_token, is_byo, event_sink_sid, sms_subscription_sid,
            call_subscription_sid, twiml_app_sid, api_key_sid, api_key_secret, sms_events_active,
            call_events_active, connected_at
        ) VALUES (
            %(organization_id)s, %(sid)s, %(token)s, false, %(event_sink_sid)s, %(sms_subscription_sid)s,
            %(call_subscription_sid)s, %(twiml_app_sid)s, %(api_key_sid)s, %(api_key_secret)s, %(events)s,
            %(events)s, now()
        )
        ON CONFLICT (organization_id) DO NOTHING
        """,
    ),
    prepare=_account,
    needs=("organization",),
    skipped=_no_account,
)

NUMBERS = Block(
    "numbers",
    wanted="""
        WITH absent AS (
            SELECT * FROM jsonb_to_recordset(%(numbers)s::jsonb)
                AS new (number text, sid text, friendly_name text, sms boolean, voice boolean, voice_webhook boolean)
            WHERE NOT EXISTS (SELECT FROM phone_number AS old WHERE old.number = new.number)
        )
    """,
    missing="""
        SELECT number FROM absent
        UNION ALL
        SELECT 'numbers of ' || coalesce(%(twilio_sid)s, 'Twilio')
        WHERE NOT EXISTS (SELECT FROM absent)
            AND NOT EXISTS (SELECT FROM phone_number WHERE organization_id = %(organization_id)s)
        ORDER BY 1
    """,
    make=(
        """
        INSERT INTO phone_number (
            organization_id, number, twilio_sid, friendly_name, ai_agent_sms_enabled, ai_agent_call_enabled,
            routing_mode, voice_webhook_active
        )
        SELECT %(organization_id)s, number, sid, friendly_name, sms, voice, 'staff', voice_webhook
        FROM absent ORDER BY number
        ON CONFLICT (number) DO NOTHING
        """,
    ),
    needs=("twilio",),
    skipped=_not_shared,
    obstacle="""
        SELECT 'the organization is connected to ' || account_sid || ', which is not the account of seed.env'
        FROM organization_twilio_settings
        WHERE organization_id = %(organization_id)s AND account_sid <> %(twilio_sid)s
        UNION ALL
        SELECT 'the account ' || %(twilio_sid)s || ' has none' WHERE %(numbers)s::jsonb = '[]'
        UNION ALL
        SELECT 'those of ' || %(twilio_sid)s || ' are all another organization''s'
        WHERE %(numbers)s::jsonb <> '[]' AND NOT EXISTS (
            SELECT FROM jsonb_to_recordset(%(numbers)s::jsonb) AS new (number text)
            WHERE NOT EXISTS (SELECT FROM phone_number AS old WHERE old.number = new.number)
        )
    """,
)

LINES: LiteralString = """
    WITH line AS (
        SELECT ai_agent_sms_enabled AS sms, ai_agent_id FROM phone_number
        WHERE organization_id = %(organization_id)s
        UNION ALL
        SELECT sms, NULL FROM jsonb_to_recordset(%(numbers)s::jsonb) AS new (number text, sms boolean)
        WHERE NOT EXISTS (SELECT FROM phone_number AS old WHERE old.number = new.number)
        UNION ALL -- if Twilio was not asked, assume a number that receives text messages
        SELECT true, NULL
        WHERE %(numbers)s::jsonb IS NULL
            AND NOT EXISTS (SELECT FROM phone_number WHERE organization_id = %(organization_id)s)
    )
"""
"""The WITH clause of obstacles: the numbers that the organization will have once `NUMBERS` is made."""

# Take the lowest number: Twilio lists the newest first, so its order changes with every new number.
TEXT_REPLY = Block(
    "text-reply",
    wanted="""
        WITH answered AS (
            SELECT FROM phone_number
            JOIN ai_agent ON ai_agent.id = ai_agent_id
            WHERE phone_number.organization_id = %(organization_id)s AND slug = 'text-reply'
        )
    """,
    missing="SELECT 'Text Reply on a number' WHERE NOT EXISTS (SELECT FROM answered)",
    make=(
        """
        UPDATE phone_number
        SET ai_agent_id = ai_agent.id,
            routing_mode = CASE routing_mode WHEN 'staff' THEN 'ai_agent' ELSE routing_mode END
        FROM ai_agent
        WHERE (ai_agent.organization_id, user_id, slug) = (%(organization_id)s, %(owner_id)s, 'text-reply')
            AND system_source_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM answered)
            AND phone_number.id = (
                SELECT id FROM phone_number
                WHERE organization_id = %(organization_id)s AND ai_agent_sms_enabled AND ai_agent_id IS NULL
                ORDER BY number LIMIT 1
            )
        """,
    ),
    needs=("numbers", "agents"),
    obstacle=LINES  # noqa: S608 - both are literals
    + """
        SELECT 'no number is free that receives text messages'
        WHERE NOT EXISTS (SELECT FROM line WHERE sms AND ai_agent_id IS NULL)
    """,
)
