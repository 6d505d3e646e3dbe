"""
The plan. The product reads from these rows what an organization may do, never from Stripe.
"""

from __future__ import annotations

from tasks_lib.loquent.block import Block

SUBSCRIPTION = Block(
    "subscription",
    missing="""
        SELECT 'enterprise'
        WHERE NOT EXISTS (SELECT FROM organization_subscription WHERE organization_id = %(organization_id)s)
    """,
    # Two seats: the owner's and the second member's. No object at Stripe corresponds to it.
    make=(
        """
        INSERT INTO organization_subscription (
            organization_id, subscription_tier_id, status, seats, current_period_start, current_period_end,
            stripe_subscription_id
        )
        SELECT %(organization_id)s, id, 'active', 2, now(), now() + interval '1 year', NULL
        FROM subscription_tier WHERE slug = 'enterprise'
        ON CONFLICT (organization_id) DO NOTHING
        """,
    ),
    needs=("organization",),
)

BUDGET = Block(
    "budget",
    missing="""
        SELECT 'credits' WHERE NOT EXISTS (SELECT FROM org_budget WHERE organization_id = %(organization_id)s)
    """,
    # As in the product's `reset_cycle_budget`: credits per seat; limits that the tier does not set are 0.
    make=(
        """
        INSERT INTO org_budget (
            organization_id, initial_included_credits, included_credits, sms_included, call_minutes_included,
            ai_messages_included
        )
        SELECT
            organization_id, credits_per_seat * seats, credits_per_seat * seats, coalesce(sms_included, 0),
            coalesce(call_minutes_included, 0), coalesce(ai_messages_included, 0)
        FROM organization_subscription
        JOIN subscription_tier ON subscription_tier.id = subscription_tier_id
        WHERE organization_id = %(organization_id)s
        ON CONFLICT (organization_id) DO NOTHING
        """,
    ),
    needs=("subscription",),
)
