"""
Sample data: ten contacts, one of whom has tasks, notes, messages and a call.

Times are relative to the contact's, so a deleted row is made again at the same time. Messages, notes and calls are
recognised by their times, because their texts may have been edited. Offsets are in hours, as days
differ in length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

from tasks_lib.loquent.block import Block
from tasks_lib.loquent.blocks.telephony import LINES

if TYPE_CHECKING:
    from tasks_lib.loquent.seed_env import Seed

_RICH: LiteralString = """
    WITH rich AS (
        SELECT contact.id, created_at FROM (VALUES (1)) AS one
        LEFT JOIN contact ON organization_id = %(organization_id)s AND lower(email) = 'zoe@example.com'
    )"""
"""The contact that has everything. If it is missing, one row of NULLs, so that all of its rows count as missing."""


def _no_samples(seed: Seed) -> str:
    return "" if seed.sample_data else "SEED_SAMPLE_DATA is 0 in seed.env"


CONTACTS = Block(
    "contacts",
    wanted="""
        WITH blueprint (n, first_name, last_name, email, number, tag) AS (VALUES
            (1, 'Zoë', 'Ångström', 'zoe@example.com', '+15005550101', 'Customer'),
            (2, 'Ben', 'O''Hara', 'ben@example.com', '+15005550102', 'Lead'),
            (3, '小明', '', 'xiaoming@example.com', '+15005550103', 'Lead'),
            (4, 'Amara', 'Okafor', 'amara@example.com', '+15005550104', NULL),
            (5, 'Mateo', 'García', 'mateo@example.com', '+15005550105', 'Do not call'),
            (6, 'Priya', 'Raman', 'priya@example.com', '+15005550106', NULL),
            (7, 'Jonas', 'Müller', 'jonas@example.com', '+15005550107', NULL),
            (8, 'Leila', 'Haddad', 'leila@example.com', '+15005550108', 'Customer'),
            (9, 'Tom', 'Nguyen', 'tom@example.com', '+15005550109', NULL),
            (10, 'Ivana', 'Kovač', 'ivana@example.com', '+15005550110', NULL)
        ), known AS (
            SELECT blueprint.*, contact.id, btrim(blueprint.first_name || ' ' || blueprint.last_name) AS name
            FROM blueprint
            LEFT JOIN contact ON organization_id = %(organization_id)s AND lower(contact.email) = blueprint.email
        ), absent AS (
            SELECT * FROM known WHERE id IS NULL
        ), unreachable AS (
            SELECT * FROM known
            WHERE id IS NOT NULL AND NOT EXISTS (SELECT FROM contact_phone WHERE contact_id = known.id)
        ), untagged AS (
            SELECT known.*, tag.id AS tag_id FROM known
            LEFT JOIN tag ON organization_id = %(organization_id)s AND lower(tag.name) = lower(known.tag)
            WHERE known.id IS NOT NULL AND known.tag IS NOT NULL
                AND NOT EXISTS (SELECT FROM contact_tag WHERE (contact_id, tag_id) = (known.id, tag.id))
        )
    """,
    missing="""
        SELECT what FROM (
            SELECT 1 AS part, n, name AS what FROM absent
            UNION ALL SELECT 2, n, 'phone of ' || name FROM unreachable
            UNION ALL SELECT 3, n, 'tag of ' || name FROM untagged
        ) AS parts
        ORDER BY part, n
    """,
    make=(
        """
        INSERT INTO contact (organization_id, first_name, last_name, email, created_at)
        SELECT %(organization_id)s, first_name, last_name, email, now() - (20 + n) * interval '1 day'
        FROM absent ORDER BY n
        """,
        """
        INSERT INTO contact_phone (contact_id, number, is_primary)
        SELECT id, number, true FROM unreachable ORDER BY n
        """,
        "INSERT INTO contact_tag (contact_id, tag_id) SELECT id, tag_id FROM untagged ORDER BY n",
    ),
    needs=("organization", "tags"),
    skipped=_no_samples,
)

RICH_CONTACT = Block(
    "rich-contact",
    wanted=_RICH  # noqa: S608 - both are literals
    + """, tasks (title, priority, due, completed) AS (VALUES
            ('Confirm booking', 'normal', interval '27 hours', interval '26 hours'),
            ('Ask for a review', 'high', interval '45 days', NULL)
        ), notes (area, body) AS (VALUES
            ('manual', 'Prefers text messages over calls.'),
            ('ai_summary', 'Asked for a Saturday appointment; booked for 10:00.')
        ), absent_tasks AS (
            SELECT * FROM tasks, rich
            WHERE NOT EXISTS (SELECT FROM task WHERE contact_id = rich.id AND task.title = tasks.title)
        ), absent_notes AS (
            SELECT * FROM notes, rich
            WHERE NOT EXISTS (
                SELECT FROM contact_note AS old
                WHERE contact_id = rich.id
                    AND (old.area, old.created_at) = (notes.area, rich.created_at + interval '26 hours')
            )
        )
    """,
    missing="SELECT 'task: ' || title FROM absent_tasks UNION ALL SELECT 'note: ' || area FROM absent_notes ORDER BY 1",
    make=(
        """
        INSERT INTO task (contact_id, assignee_id, title, priority, due_at, completed_at)
        SELECT id, %(staff_member_id)s, title, priority::priority, created_at + due, created_at + completed
        FROM absent_tasks ORDER BY due
        """,
        """
        INSERT INTO contact_note (contact_id, author_id, area, body, created_at)
        SELECT
            id, CASE area WHEN 'manual' THEN %(owner_member_id)s::uuid END, area, body,
            created_at + interval '26 hours'
        FROM absent_notes
        """,
    ),
    needs=("contacts", "owner", "staff"),
    skipped=_no_samples,
)

CONVERSATION = Block(
    "conversation",
    wanted=_RICH  # noqa: S608 - both are literals
    + """, line AS ( -- the one that an agent answers, else the first
            SELECT id AS line_id, ai_agent_id FROM phone_number WHERE organization_id = %(organization_id)s
            ORDER BY ai_agent_id IS NULL, number LIMIT 1
        ), messages (n, direction, body, after) AS (VALUES
            (1, 'inbound', 'Hi, are you open on Saturday?', interval '24 hours'),
            (2, 'outbound', 'We are, 9 to 13. Book you in?', interval '24 hours 1 minute'),
            (3, 'inbound', E'Yes please 🙏\\n10 would be great', interval '24 hours 6 minutes'),
            (4, 'outbound', 'Booked. See you on Saturday at 10.', interval '24 hours 7 minutes')
        ), calls (transcription, after) AS (VALUES
            ('Hello, this is Zoë. I only wanted to say thank you.', interval '96 hours')
        ), absent_messages AS (
            SELECT * FROM messages, rich
            WHERE NOT EXISTS (
                SELECT FROM message AS old
                WHERE contact_id = rich.id
                    AND (old.direction::text, old.sent_at) = (messages.direction, created_at + after)
            )
        ), absent_calls AS (
            SELECT * FROM calls, rich
            WHERE NOT EXISTS (
                SELECT FROM call WHERE contact_id = rich.id AND started_at = created_at + after
            )
        )
    """,
    missing="""
        SELECT what FROM (
            SELECT n, 'message ' || n AS what FROM absent_messages UNION ALL SELECT 5, 'call' FROM absent_calls
        ) AS parts
        ORDER BY n
    """,
    make=(
        """
        INSERT INTO message (contact_id, phone_number_id, ai_agent_id, direction, body, sent_at)
        SELECT
            id, line_id, CASE direction WHEN 'outbound' THEN ai_agent_id END, direction::direction, body,
            created_at + after
        FROM absent_messages, line ORDER BY n
        """,
        """
        INSERT INTO call (
            contact_id, phone_number_id, direction, status, duration_secs, recording_url, transcription, started_at
        )
        SELECT
            id, line_id, 'inbound', 'completed', 94, 'https://recordings.example.com/1.mp3', transcription,
            created_at + after
        FROM absent_calls, line
        """,
    ),
    needs=("contacts", "numbers"),
    skipped=_no_samples,
    obstacle=LINES + "SELECT 'the organization has no phone number' WHERE NOT EXISTS (SELECT FROM line)",  # noqa: S608 - both are literals
)
