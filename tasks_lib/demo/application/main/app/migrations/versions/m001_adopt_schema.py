"""Adopt the schema as 297 SeaORM migrations have left it."""

from __future__ import annotations

revision = "m001"
down_revision = None


def upgrade() -> None:
    """Change nothing: from here on, Alembic goes ahead."""
