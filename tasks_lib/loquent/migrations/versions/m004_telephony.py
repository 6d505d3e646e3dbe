"""Telephony: an organization's Twilio account, and its numbers."""

from __future__ import annotations

from alembic import op

revision = "m004"
down_revision = "m003"

SQL = r"""
CREATE TYPE routing_mode AS ENUM ('ai_agent', 'staff', 'voicemail');

CREATE TABLE organization_twilio_settings (
    organization_id uuid PRIMARY KEY REFERENCES organization ON DELETE CASCADE,
    account_sid text NOT NULL CHECK (account_sid ~ '^AC[0-9a-f]{32}$'),
    auth_token text NOT NULL CHECK (auth_token <> ''),
    is_byo boolean NOT NULL DEFAULT false,
    event_sink_sid text,
    sms_subscription_sid text,
    call_subscription_sid text,
    twiml_app_sid text,
    api_key_sid text,
    api_key_secret text,
    sms_events_active boolean NOT NULL DEFAULT false,
    call_events_active boolean NOT NULL DEFAULT false,
    connected_at timestamptz,
    CHECK ((api_key_sid IS NULL) = (api_key_secret IS NULL))
);

CREATE TABLE phone_number (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organization_twilio_settings ON DELETE CASCADE,
    number text NOT NULL UNIQUE CHECK (number ~ '^\+[1-9][0-9]{6,14}$'),
    twilio_sid text NOT NULL UNIQUE CHECK (twilio_sid ~ '^PN[0-9a-f]{32}$'),
    friendly_name text NOT NULL,
    ai_agent_sms_enabled boolean NOT NULL DEFAULT false,
    ai_agent_call_enabled boolean NOT NULL DEFAULT false,
    routing_mode routing_mode NOT NULL DEFAULT 'staff',
    voice_webhook_active boolean NOT NULL DEFAULT false,
    ai_agent_id uuid REFERENCES ai_agent ON DELETE SET NULL
);
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SQL)
