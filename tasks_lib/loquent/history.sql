-- The rows of half a year of use, which make the fixture as large as a real golden template: 17 MB.

INSERT INTO audit_log (organization_id, action, detail, happened_at)
SELECT
    organization.id,
    (ARRAY['contact.viewed', 'message.sent', 'task.updated', 'member.signed_in'])[1 + n % 4],
    jsonb_build_object('request', n, 'path', '/api/v1/records/' || n * 7919 % 10007, 'agent', repeat('Mozilla ', 8)),
    timestamptz '2026-01-05 09:00+00' + n * interval '17 minutes'
FROM organization, generate_series(1, 16000) AS n
ORDER BY n;

REFRESH MATERIALIZED VIEW audit_summary;

-- Not where the rows would put it, and not yet called: the two things a careless copy of a sequence loses.
SELECT setval('task_number_seq', 5000, false);

ANALYZE;
