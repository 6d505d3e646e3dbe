"""The second member: not an owner and without a role, so with a teammate's base permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.loquent.block import Block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from tasks_lib.loquent.block import Inputs


def _hash(connection: Connection[Any], values: Mapping[str, Any], inputs: Inputs) -> Mapping[str, Any]:
    there = connection.execute("SELECT FROM email_password_account WHERE user_id = %(staff_id)s", values).fetchone()
    # The password of an existing account is unknown, so none is written to the credentials file.
    return {"hash": None if there is not None else inputs.hash_of(values["staff"])}


STAFF = Block(
    "staff",
    missing="""
        SELECT part FROM (VALUES
            (%(staff)s::text, %(staff_id)s::uuid IS NULL),
            ('account', NOT EXISTS (SELECT FROM email_password_account WHERE user_id = %(staff_id)s)),
            ('member', %(staff_member_id)s::uuid IS NULL),
            ('presence', NOT EXISTS (SELECT FROM staff_presence WHERE member_id = %(staff_member_id)s))
        ) AS parts (part, is_missing)
        WHERE is_missing
    """,
    make=(
        """
        INSERT INTO "user" (email, display_name) VALUES (%(staff)s, 'Stefan Staff') ON CONFLICT (email) DO NOTHING
        """,
        """
        INSERT INTO email_password_account (user_id, password_hash, verified_at)
        SELECT id, %(hash)s, now() FROM "user" WHERE email = %(staff)s AND %(hash)s::text IS NOT NULL
        ON CONFLICT (user_id) DO NOTHING
        """,
        """
        INSERT INTO member (organization_id, user_id, is_owner)
        SELECT %(organization_id)s, id, false FROM "user" WHERE email = %(staff)s
        ON CONFLICT (organization_id, user_id) DO NOTHING
        """,
        """
        INSERT INTO staff_presence (member_id, status)
        SELECT member.id, 'available' FROM member JOIN "user" ON "user".id = user_id
        WHERE organization_id = %(organization_id)s AND email = %(staff)s
        ON CONFLICT (member_id) DO NOTHING
        """,
    ),
    prepare=_hash,
    needs=("organization",),
)
