"""Add `contact.preferred_channel`, derived from what each contact has used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "m008"
down_revision = "m007"


def upgrade() -> None:
    """Add the column and fill it in from the messages that are there."""
    op.add_column("contact", sa.Column("preferred_channel", sa.Text, server_default="call", nullable=False))
    op.execute(
        "UPDATE contact SET preferred_channel = 'sms' "
        "WHERE EXISTS (SELECT FROM message WHERE message.contact_id = contact.id)"
    )
