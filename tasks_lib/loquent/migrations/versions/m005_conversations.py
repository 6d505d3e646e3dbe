"""Conversations: messages and calls."""

from __future__ import annotations

from alembic import op

revision = "m005"
down_revision = "m004"

SQL = r"""
CREATE TABLE message (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    contact_id uuid NOT NULL REFERENCES contact ON DELETE CASCADE,
    phone_number_id uuid NOT NULL REFERENCES phone_number,
    ai_agent_id uuid REFERENCES ai_agent ON DELETE SET NULL,
    direction direction NOT NULL,
    body text NOT NULL CHECK (length(body) BETWEEN 1 AND 1600),
    sent_at timestamptz NOT NULL,
    UNIQUE (contact_id, phone_number_id, direction, sent_at),
    CHECK (direction = 'outbound' OR ai_agent_id IS NULL)
);

CREATE TABLE call (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    contact_id uuid NOT NULL REFERENCES contact ON DELETE CASCADE,
    phone_number_id uuid NOT NULL REFERENCES phone_number,
    direction direction NOT NULL,
    status text NOT NULL CHECK (status IN ('ringing', 'in_progress', 'completed', 'missed')),
    duration_secs integer CHECK (duration_secs >= 0),
    recording_url text CHECK (recording_url LIKE 'https://%'),
    transcription text,
    started_at timestamptz NOT NULL,
    UNIQUE (contact_id, phone_number_id, started_at),
    CHECK ((status = 'completed') = (duration_secs IS NOT NULL))
);

CREATE VIEW contact_overview AS
SELECT
    contact.id,
    contact.full_name,
    count(DISTINCT message.id) AS messages,
    max(message.sent_at) AS last_message_at
FROM contact
LEFT JOIN message ON message.contact_id = contact.id
GROUP BY contact.id;
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SQL)
