"""
Golden templates of any size: the fixture's 121 tables, grown with the history of a busier account.

Nothing in them depends on chance or the time, so two runs measure equal databases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from tasks_lib.databases.server.connection import scalar
from tasks_lib.loquent import fixture

if TYPE_CHECKING:
    from bench.servers import Target

MEGABYTE = 1024**2

_CONTACTS = 400
"""A batch: about 4 MB with the messages, calls, notes, tasks and log entries of that many contacts."""

_GROW = """
INSERT INTO contact (id, organization_id, first_name, last_name, email, custom_fields, created_at, updated_at)
SELECT
    md5('contact' || n)::uuid, organization.id, (ARRAY['Ada', 'Ben', 'Chloé', 'Dmitri', 'Eve', 'Farid'])[1 + n %% 6],
    initcap(substr(md5('name' || n), 1, 3 + n %% 9)), 'contact' || n || '@example.com',
    jsonb_build_object('city', substr(md5('city' || n %% 500), 1, 8), 'score', n * 7919 %% 1000, 'vip', n %% 20 = 0),
    timestamptz '2026-03-01 08:00+00' + n * interval '1 minute', timestamptz '2026-03-01 08:00+00'
FROM organization, generate_series(%(first)s::int, %(last)s::int) AS n;

INSERT INTO contact_phone (id, contact_id, number, is_primary)
SELECT md5('phone' || n)::uuid, md5('contact' || n)::uuid, '+1' || 2000000000 + n, true
FROM generate_series(%(first)s::int, %(last)s::int) AS n;

INSERT INTO message (id, contact_id, phone_number_id, direction, body, sent_at)
SELECT
    md5('message' || n || '-' || m)::uuid, md5('contact' || n)::uuid, phone_number.id,
    (ARRAY['inbound', 'outbound'])[1 + m %% 2]::direction, repeat(md5(n || 'says' || m) || ' ', 2 + (n + m) %% 9),
    timestamptz '2026-03-01 08:00+00' + n * interval '1 minute' + m * interval '3 hours'
FROM phone_number, generate_series(%(first)s::int, %(last)s::int) AS n, generate_series(1, 12) AS m;

INSERT INTO task (id, contact_id, title, priority, due_at, updated_at)
SELECT
    md5('task' || n)::uuid, md5('contact' || n)::uuid, 'Call back about ' || md5('subject' || n),
    (ARRAY['low', 'normal', 'high', 'urgent'])[1 + n %% 4]::priority,
    timestamptz '2026-04-01 08:00+00' + n * interval '1 minute', timestamptz '2026-03-01 08:00+00'
FROM generate_series(%(first)s::int, %(last)s::int) AS n;

INSERT INTO contact_note (id, contact_id, area, body, created_at)
SELECT
    md5('note' || n)::uuid, md5('contact' || n)::uuid, 'ai_summary', repeat(md5('note' || n) || ' ', 4),
    timestamptz '2026-03-02 08:00+00'
FROM generate_series(%(first)s::int, %(last)s::int) AS n;

INSERT INTO call (
    id, contact_id, phone_number_id, direction, status, duration_secs, transcription, started_at
)
SELECT
    md5('call' || n)::uuid, md5('contact' || n)::uuid, phone_number.id, 'inbound', 'completed', n %% 600,
    (SELECT string_agg(md5(n || 'word' || w), ' ') FROM generate_series(1, 20) AS w),
    timestamptz '2026-03-01 08:00+00' + n * interval '1 minute'
FROM phone_number, generate_series(%(first)s::int, %(last)s::int) AS n;

INSERT INTO audit_log (organization_id, action, detail, happened_at)
SELECT
    organization.id,
    (ARRAY['contact.viewed', 'message.sent', 'task.updated', 'member.signed_in'])[1 + m %% 4],
    jsonb_build_object('contact', md5('contact' || n), 'request', n * 12 + m, 'agent', repeat('Mozilla ', 8)),
    timestamptz '2026-03-01 08:00+00' + n * interval '1 minute' + m * interval '1 second'
FROM organization, generate_series(%(first)s::int, %(last)s::int) AS n, generate_series(1, 12) AS m
ORDER BY n, m;
"""


def create(target: Target, name: str, megabytes: int = 0) -> int:
    """Make the golden template *name*, grown to *megabytes* where the fixture's 17 are too few; return its bytes."""
    fixture.create_fixture(target.url.text, name)
    return grow(target, name, megabytes)


def grow(target: Target, name: str, megabytes: int) -> int:
    """Add rows to the golden template *name* until it has *megabytes*; return its bytes, all of them on disk."""
    with target.server.connect(name, keep_search_path=True) as connection:
        size = "SELECT pg_database_size(current_database())"
        batch = scalar(connection, "SELECT count(*) FROM contact") // _CONTACTS
        # Of rows that fit by construction, no foreign key need be looked up: 1 GB in a third of the time.
        connection.execute("SET session_replication_role = replica")
        cursor = psycopg.ClientCursor(connection)  # several statements with parameters
        while scalar(connection, size) < megabytes * MEGABYTE:
            cursor.execute(_GROW, {"first": batch * _CONTACTS + 1, "last": (batch + 1) * _CONTACTS})
            batch += 1
        # So that neither autovacuum nor a checkpoint comes in between.
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        connection.execute("CHECKPOINT")
        return int(scalar(connection, size))
