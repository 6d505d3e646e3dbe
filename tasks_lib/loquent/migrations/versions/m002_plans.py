"""Plans: tiers, an organization's subscription, its budget."""

from __future__ import annotations

import os

import sqlalchemy as sa
from alembic import op

revision = "m002"
down_revision = "m001"

SQL = r"""
CREATE TYPE subscription_status AS ENUM ('trialing', 'active', 'past_due', 'canceled');

CREATE TABLE core_conf (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    stripe_secret_key text,
    stripe_webhook_secret text
);

CREATE TABLE subscription_tier (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z]+$'),
    name text NOT NULL,
    sort_order integer NOT NULL UNIQUE,
    credits_per_seat integer NOT NULL CHECK (credits_per_seat >= 0),
    sms_included integer CHECK (sms_included >= 0),
    call_minutes_included integer CHECK (call_minutes_included >= 0),
    ai_messages_included integer CHECK (ai_messages_included >= 0),
    has_ai_agents boolean NOT NULL,
    has_bulk_messaging boolean NOT NULL,
    has_call_recording boolean NOT NULL,
    has_api_access boolean NOT NULL,
    stripe_product_id text UNIQUE
);

CREATE TABLE organization_subscription (
    organization_id uuid PRIMARY KEY REFERENCES organization ON DELETE CASCADE,
    subscription_tier_id uuid NOT NULL REFERENCES subscription_tier,
    status subscription_status NOT NULL,
    seats integer NOT NULL CHECK (seats > 0),
    current_period_start timestamptz NOT NULL,
    current_period_end timestamptz NOT NULL,
    stripe_subscription_id text UNIQUE,
    CHECK (current_period_end > current_period_start)
);

CREATE TABLE org_budget (
    organization_id uuid PRIMARY KEY REFERENCES organization_subscription ON DELETE CASCADE,
    initial_included_credits integer NOT NULL CHECK (initial_included_credits >= 0),
    included_credits integer NOT NULL,
    sms_included integer NOT NULL CHECK (sms_included >= 0),
    call_minutes_included integer NOT NULL CHECK (call_minutes_included >= 0),
    ai_messages_included integer NOT NULL CHECK (ai_messages_included >= 0),
    CHECK (included_credits BETWEEN 0 AND initial_included_credits)
);

INSERT INTO subscription_tier (
    slug, name, sort_order, credits_per_seat, sms_included, call_minutes_included, ai_messages_included,
    has_ai_agents, has_bulk_messaging, has_call_recording, has_api_access
) VALUES
    ('free', 'Free', 0, 100, 0, 0, 0,
     false, false, false, false),
    ('starter', 'Starter', 10, 1000, 500, 100, 200,
     true, false, false, false),
    ('pro', 'Pro', 20, 5000, 2500, 500, 2000,
     true, true, true, false),
    ('enterprise', 'Enterprise', 30, 20000, NULL, NULL, NULL,
     true, true, true, true);
"""


def upgrade() -> None:
    """Create the tables, the tiers, and the configuration, with Stripe's sandbox keys where they are exported."""
    op.execute(SQL)
    keys = {name: os.environ.get(name) or None for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET")}
    op.get_bind().execute(
        sa.text(
            "INSERT INTO core_conf (stripe_secret_key, stripe_webhook_secret) "
            "VALUES (:STRIPE_SECRET_KEY, :STRIPE_WEBHOOK_SECRET)"
        ),
        keys,
    )
