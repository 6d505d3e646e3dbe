"""The rows that signing up makes: user, account, organization, owner, tags, preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.loquent.block import Block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from tasks_lib.loquent.block import Inputs

USER = Block(
    "user",
    missing="SELECT %(owner)s::text WHERE %(owner_id)s::uuid IS NULL",
    make=(
        """
        INSERT INTO "user" (email, display_name) VALUES (%(owner)s, 'Olivia Owner') ON CONFLICT (email) DO NOTHING
        """,
    ),
)


def _hash(connection: Connection[Any], values: Mapping[str, Any], inputs: Inputs) -> Mapping[str, Any]:
    return {"hash": inputs.hash_of(values["owner"])}


ACCOUNT = Block(
    "account",
    missing="""
        SELECT %(owner)s::text
        WHERE NOT EXISTS (SELECT FROM email_password_account WHERE user_id = %(owner_id)s)
    """,
    make=(
        """
        INSERT INTO email_password_account (user_id, password_hash, verified_at)
        VALUES (%(owner_id)s, %(hash)s, now()) ON CONFLICT (user_id) DO NOTHING
        """,
    ),
    prepare=_hash,
    needs=("user",),
)

ORGANIZATION = Block(
    "organization",
    missing="SELECT %(slug)s::text WHERE %(organization_id)s::uuid IS NULL",
    make=("INSERT INTO organization (name, slug) VALUES ('Loquent Dev', %(slug)s) ON CONFLICT (slug) DO NOTHING",),
)

OWNER = Block(
    "owner",
    missing="SELECT %(owner)s::text WHERE %(owner_member_id)s::uuid IS NULL",
    make=(
        """
        INSERT INTO member (organization_id, user_id, is_owner) VALUES (%(organization_id)s, %(owner_id)s, true)
        ON CONFLICT (organization_id, user_id) DO NOTHING
        """,
    ),
    needs=("user", "organization"),
)

TAGS = Block(
    "tags",
    wanted="""
        WITH blueprint (n, name, color) AS (
            VALUES (1, 'Lead', '#2563eb'), (2, 'Customer', '#16a34a'), (3, 'Do not call', '#dc2626')
        ), absent AS (
            SELECT * FROM blueprint
            WHERE NOT EXISTS (
                SELECT FROM tag
                WHERE organization_id = %(organization_id)s AND lower(tag.name) = lower(blueprint.name)
            )
        )
    """,
    missing="SELECT name FROM absent ORDER BY n",
    make=(
        """
        INSERT INTO tag (organization_id, name, color, is_default)
        SELECT %(organization_id)s, name, color, true FROM absent ORDER BY n
        """,
    ),
    needs=("organization",),
)

PREFERENCES = Block(
    "preferences",
    wanted="""
        WITH absent AS (
            SELECT event FROM unnest(ARRAY['message.received', 'call.missed', 'task.due']) AS event
            WHERE NOT EXISTS (
                SELECT FROM notification_preference AS old
                WHERE (user_id, old.event, channel) = (%(owner_id)s, event.event, 'email')
            )
        )
    """,
    missing="SELECT event FROM absent ORDER BY 1",
    make=(
        """
        INSERT INTO notification_preference (user_id, event, channel)
        SELECT %(owner_id)s, event, 'email' FROM absent
        """,
    ),
    needs=("user",),
)
