"""
The schema that the blocks need. The product's migrations make it, or those in `migrations/`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import DatabaseError
from tasks_lib.loquent.blocks.agents import SOURCES
from tasks_lib.output import format_first
from tasks_lib.toolchains.base import Command

if TYPE_CHECKING:
    from psycopg import Connection

BUNDLED = Command((sys.executable, "-m", "alembic", "upgrade", "heads"), Path(__file__).with_name("migrations"))
"""The command that migrates the database at DATABASE_URL, for repositories without a migration tool."""

TABLES = (
    "user",
    "email_password_account",
    "organization",
    "member",
    "staff_presence",
    "tag",
    "notification_preference",
    "subscription_tier",
    "organization_subscription",
    "org_budget",
    "organization_twilio_settings",
    "phone_number",
    "ai_agent",
    "ai_agent_memory",
    "ai_agent_skill",
    "ai_agent_can_invoke",
    "contact",
    "contact_phone",
    "contact_tag",
    "message",
    "task",
    "contact_note",
    "call",
)
"""Every table that a block reads or writes."""


def require_account_schema(connection: Connection[Any], name: str) -> None:
    """
    Check that the blocks can be made in the database.

    Args:
        name: The database's present or future name.

    Raises:
        DatabaseError: If it lacks a table, or rows that the product's migrations insert.
    """
    found = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NULL", [list(TABLES)]
    ).fetchall()
    if found:
        raise DatabaseError(
            f"the schema of `{name}` is not Loquent's: it has no {format_first([f'`{row[0]}`' for row in found], 5)}",
            why="golden.build makes an account of the product Loquent, in tables that migrations made",
            hint="to build a new one in the schema that comes with goldentree, or to pull another product's database:\n"
            "WORKTREE_MIGRATE=none inv golden.build\n"
            "inv golden.pull",
        )
    lacking = connection.execute(
        "SELECT 'the tier enterprise' WHERE NOT EXISTS (SELECT FROM subscription_tier WHERE slug = 'enterprise') "
        "UNION ALL SELECT 'the system agent ' || source FROM unnest(%s::text[]) AS source "
        "WHERE NOT EXISTS (SELECT FROM ai_agent WHERE organization_id IS NULL AND slug = source)",
        [list(SOURCES)],
    ).fetchall()
    if lacking:
        raise DatabaseError(
            f"`{name}` lacks {', '.join(row[0] for row in lacking)}",
            why="the account needs them, and the product's migrations insert them",
            hint="apply all migrations to it, then run the same command again",
        )
