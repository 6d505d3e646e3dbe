-- The rows of the golden template, in the build order of seed 001, section 09.
--
-- Nothing here is random and nothing asks for the time: every build is equal to the last, row for row. Rows find each
-- other by their natural keys; there is one organization.

-- User, account, organization, owner, tags, preferences

INSERT INTO "user" (id, email, display_name, created_at) VALUES
    ('01000000-0000-4000-8000-000000000001', 'owner@example.com', 'Olivia Owner', '2026-01-05 09:00+00'),
    ('01000000-0000-4000-8000-000000000002', 'staff@example.com', 'Stefan Staff', '2026-01-06 09:00+00');

INSERT INTO email_password_account (user_id, password_hash, verified_at)
SELECT id, '$fixture$nobody-can-sign-in-with-this', created_at FROM "user";

INSERT INTO organization (id, name, slug, settings, created_at) VALUES
    ('02000000-0000-4000-8000-000000000001', 'Loquent Dev', 'loquent-dev',
     '{"timezone": "Europe/Vienna", "quiet_hours": [22, 7]}', '2026-01-05 09:00+00');

INSERT INTO member (id, organization_id, user_id, is_owner, joined_at)
SELECT '03000000-0000-4000-8000-000000000001', organization.id, "user".id, true, "user".created_at
FROM organization, "user" WHERE email = 'owner@example.com';

INSERT INTO tag (id, organization_id, name, color, is_default)
SELECT new.id::uuid, organization.id, new.name, new.color, true
FROM organization, (VALUES
    ('04000000-0000-4000-8000-000000000001', 'Lead', '#2563eb'),
    ('04000000-0000-4000-8000-000000000002', 'Customer', '#16a34a'),
    ('04000000-0000-4000-8000-000000000003', 'Do not call', '#dc2626')
) AS new (id, name, color);

INSERT INTO notification_preference (user_id, event, channel)
SELECT id, event, 'email'
FROM "user", unnest(ARRAY['message.received', 'call.missed', 'task.due']) AS event
WHERE email = 'owner@example.com';

-- Subscription and budget

INSERT INTO core_conf (stripe_secret_key, stripe_webhook_secret) VALUES (NULL, NULL);

INSERT INTO subscription_tier (
    id, slug, name, sort_order, credits_per_seat, sms_included, call_minutes_included, ai_messages_included,
    has_ai_agents, has_bulk_messaging, has_call_recording, has_api_access
) VALUES
    ('05000000-0000-4000-8000-000000000001', 'free', 'Free', 0, 100, 0, 0, 0,
     false, false, false, false),
    ('05000000-0000-4000-8000-000000000002', 'starter', 'Starter', 10, 1000, 500, 100, 200,
     true, false, false, false),
    ('05000000-0000-4000-8000-000000000003', 'pro', 'Pro', 20, 5000, 2500, 500, 2000,
     true, true, true, false),
    ('05000000-0000-4000-8000-000000000004', 'enterprise', 'Enterprise', 30, 20000, NULL, NULL, NULL,
     true, true, true, true);

INSERT INTO organization_subscription (
    organization_id, subscription_tier_id, status, seats, current_period_start, current_period_end
)
SELECT organization.id, subscription_tier.id, 'active', 2, '2026-01-05 09:00+00', '2027-01-05 09:00+00'
FROM organization, subscription_tier WHERE subscription_tier.slug = 'enterprise';

INSERT INTO org_budget (
    organization_id, initial_included_credits, included_credits, sms_included, call_minutes_included,
    ai_messages_included
)
SELECT
    organization_id, credits_per_seat * seats, credits_per_seat * seats, coalesce(sms_included, 0),
    coalesce(call_minutes_included, 0), coalesce(ai_messages_included, 0)
FROM organization_subscription
JOIN subscription_tier ON subscription_tier.id = subscription_tier_id;

-- Twilio settings and the one number; repeat() keeps the made-up SIDs from looking like leaked ones to a scanner

INSERT INTO organization_twilio_settings (
    organization_id, account_sid, auth_token, is_byo, event_sink_sid, sms_subscription_sid, call_subscription_sid,
    sms_events_active, call_events_active, connected_at
)
SELECT
    id, 'AC' || repeat('0', 32), 'fixture', false, 'DG' || repeat('1', 32), 'DF' || repeat('2', 32),
    'DF' || repeat('3', 32), true, true, '2026-01-05 10:00+00'
FROM organization;

INSERT INTO phone_number (
    id, organization_id, number, twilio_sid, friendly_name, ai_agent_sms_enabled, ai_agent_call_enabled, routing_mode,
    voice_webhook_active
)
SELECT
    '06000000-0000-4000-8000-000000000001', organization_id, '+15005550006', 'PN' || repeat('4', 32), 'Main line',
    true, false, 'ai_agent', true
FROM organization_twilio_settings;

-- System agents, which the product's migrations make, and the owner's clones of all but Agent Creator

INSERT INTO ai_agent (id, slug, name, instructions, model, created_at) VALUES
    ('07000000-0000-4000-8000-000000000001', 'master-orchestrator', 'Master Orchestrator',
     'Delegate each request to the agent that can fulfil it.', '{"name": "large"}', '2026-01-01 00:00+00'),
    ('07000000-0000-4000-8000-000000000002', 'loquent-assistant', 'Loquent Assistant',
     'Help the user with contacts, tasks and calls.', '{"name": "large"}', '2026-01-01 00:00+00'),
    ('07000000-0000-4000-8000-000000000003', 'follow-up-drafter', 'Follow-up Drafter',
     'Draft one follow-up for each contact.', '{"name": "small"}', '2026-01-01 00:00+00'),
    ('07000000-0000-4000-8000-000000000004', 'text-reply', 'Text Reply',
     'Answer text messages in the tone of the organization.', '{"name": "small", "max_tokens": 400}',
     '2026-01-01 00:00+00'),
    ('07000000-0000-4000-8000-000000000005', 'agent-creator', 'Agent Creator',
     'Interview the user, then write a new agent.', '{"name": "large"}', '2026-01-01 00:00+00');

INSERT INTO skill (id, slug, name) VALUES
    ('08000000-0000-4000-8000-000000000001', 'delegation', 'Delegation'),
    ('08000000-0000-4000-8000-000000000002', 'contact-search', 'Contact search'),
    ('08000000-0000-4000-8000-000000000003', 'task-planning', 'Task planning'),
    ('08000000-0000-4000-8000-000000000004', 'message-drafting', 'Message drafting');

INSERT INTO ai_agent_skill (ai_agent_id, skill_id, is_enabled)
SELECT ai_agent.id, skill.id, new.is_enabled
FROM (VALUES
    ('master-orchestrator', 'delegation', true),
    ('loquent-assistant', 'contact-search', true),
    ('loquent-assistant', 'task-planning', false),
    ('follow-up-drafter', 'message-drafting', true),
    ('text-reply', 'message-drafting', true),
    ('text-reply', 'contact-search', false)
) AS new (agent, skill, is_enabled)
JOIN ai_agent ON ai_agent.slug = new.agent
JOIN skill ON skill.slug = new.skill;

INSERT INTO ai_agent_can_invoke (caller_id, callee_id)
SELECT caller.id, callee.id
FROM ai_agent AS caller, ai_agent AS callee
WHERE (caller.slug, callee.slug) IN (
    ('master-orchestrator', 'loquent-assistant'),
    ('master-orchestrator', 'follow-up-drafter'),
    ('master-orchestrator', 'agent-creator'),
    ('loquent-assistant', 'follow-up-drafter')
);

INSERT INTO ai_agent (
    id, organization_id, user_id, system_source_id, slug, name, instructions, model, is_unedited_clone, created_at
)
SELECT
    overlay(source.id::text PLACING '09' FROM 1 FOR 2)::uuid, member.organization_id, member.user_id, source.id,
    slug, name, instructions, model, true, joined_at
FROM ai_agent AS source, member
WHERE slug <> 'agent-creator' AND is_owner;

INSERT INTO ai_agent_memory (ai_agent_id)
SELECT id FROM ai_agent WHERE system_source_id IS NOT NULL;

INSERT INTO ai_agent_skill (ai_agent_id, skill_id, is_enabled)
SELECT clone.id, skill_id, is_enabled
FROM ai_agent_skill
JOIN ai_agent AS clone ON clone.system_source_id = ai_agent_id;

-- An edge leads to the callee's clone, or to the callee itself where that is never cloned.
INSERT INTO ai_agent_can_invoke (caller_id, callee_id)
SELECT caller.id, coalesce(callee.id, callee_id)
FROM ai_agent_can_invoke
JOIN ai_agent AS caller ON caller.system_source_id = caller_id
LEFT JOIN ai_agent AS callee ON callee.system_source_id = callee_id;

UPDATE phone_number SET ai_agent_id = ai_agent.id
FROM ai_agent WHERE slug = 'text-reply' AND system_source_id IS NOT NULL;

-- Second member

INSERT INTO member (id, organization_id, user_id, joined_at)
SELECT '03000000-0000-4000-8000-000000000002', organization.id, "user".id, "user".created_at
FROM organization, "user" WHERE email = 'staff@example.com';

INSERT INTO staff_presence (member_id, status, changed_at)
SELECT id, 'available', joined_at FROM member WHERE NOT is_owner;

-- Contacts: two bare ones, and one with everything

INSERT INTO contact (id, organization_id, first_name, last_name, email, custom_fields, created_at, updated_at)
SELECT new.id::uuid, organization.id, first_name, last_name, email, fields::jsonb, at::timestamptz, at::timestamptz
FROM organization, (VALUES
    ('0a000000-0000-4000-8000-000000000001', 'Zoë', 'Ångström', 'zoe@example.com',
     '{"birthday": "1990-02-28", "vip": true}', '2026-02-01 08:00+00'),
    ('0a000000-0000-4000-8000-000000000002', 'Ben', 'O''Hara', 'ben@example.com', '{}', '2026-02-02 08:00+00'),
    ('0a000000-0000-4000-8000-000000000003', '小明', '', NULL, '{}', '2026-02-03 08:00+00')
) AS new (id, first_name, last_name, email, fields, at);

INSERT INTO contact_phone (id, contact_id, number, is_primary)
SELECT overlay(id::text PLACING '0b' FROM 1 FOR 2)::uuid, id, '+1500555001' || right(id::text, 1), true
FROM contact;

INSERT INTO contact_tag (contact_id, tag_id)
SELECT contact.id, tag.id
FROM contact, tag
WHERE (email, tag.name) IN (('zoe@example.com', 'Customer'), ('ben@example.com', 'Lead'));

INSERT INTO message (id, contact_id, phone_number_id, ai_agent_id, direction, body, sent_at)
SELECT
    new.id::uuid, contact.id, phone_number.id, CASE direction WHEN 'outbound' THEN ai_agent_id END,
    direction::direction, body, sent_at::timestamptz
FROM contact, phone_number, (VALUES
    ('0c000000-0000-4000-8000-000000000001', 'inbound', 'Hi, are you open on Saturday?', '2026-02-04 15:00+00'),
    ('0c000000-0000-4000-8000-000000000002', 'outbound', 'We are, 9 to 13. Book you in?', '2026-02-04 15:01+00'),
    ('0c000000-0000-4000-8000-000000000003', 'inbound', E'Yes please 🙏\n10 would be great', '2026-02-04 15:06+00'),
    ('0c000000-0000-4000-8000-000000000004', 'outbound', 'Booked. See you on Saturday at 10.', '2026-02-04 15:07+00')
) AS new (id, direction, body, sent_at)
WHERE email = 'zoe@example.com';

INSERT INTO task (id, contact_id, assignee_id, title, priority, due_at, completed_at, updated_at)
SELECT
    new.id::uuid, contact.id, member.id, title, priority::priority, due_at::timestamptz, completed_at::timestamptz,
    '2026-02-05 09:00+00'
FROM contact, member, (VALUES
    ('0d000000-0000-4000-8000-000000000001', 'Confirm booking', 'normal', '2026-02-05 12:00+00',
     '2026-02-05 09:00+00'),
    ('0d000000-0000-4000-8000-000000000002', 'Ask for a review', 'high', '2026-03-01 12:00+00', NULL)
) AS new (id, title, priority, due_at, completed_at)
WHERE email = 'zoe@example.com' AND NOT is_owner
ORDER BY new.id;

-- Not where the rows would put it, and not yet called: the two things a careless copy of a sequence loses.
SELECT setval('task_number_seq', 5000, false);

INSERT INTO contact_note (id, contact_id, author_id, area, body, created_at)
SELECT new.id::uuid, contact.id, CASE area WHEN 'manual' THEN member.id END, area, body, '2026-02-05 10:00+00'
FROM contact, member, (VALUES
    ('0e000000-0000-4000-8000-000000000001', 'manual', 'Prefers text messages over calls.'),
    ('0e000000-0000-4000-8000-000000000002', 'ai_summary', 'Asked for a Saturday appointment; booked for 10:00.')
) AS new (id, area, body)
WHERE email = 'zoe@example.com' AND is_owner;

INSERT INTO call (
    id, contact_id, phone_number_id, direction, status, duration_secs, recording_url, transcription, started_at
)
SELECT
    '0f000000-0000-4000-8000-000000000001', contact.id, phone_number.id, 'inbound', 'completed', 94,
    'https://recordings.example.com/1.mp3', 'Hello, this is Zoë. I only wanted to say thank you.',
    '2026-02-07 11:30+00'
FROM contact, phone_number WHERE email = 'zoe@example.com';

-- History: what fills the template up to the 17 MB of seed 000

INSERT INTO audit_log (organization_id, action, detail, happened_at)
SELECT
    organization.id,
    (ARRAY['contact.viewed', 'message.sent', 'task.updated', 'member.signed_in'])[1 + n % 4],
    jsonb_build_object('request', n, 'path', '/api/v1/records/' || n * 7919 % 10007, 'agent', repeat('Mozilla ', 8)),
    timestamptz '2026-01-05 09:00+00' + n * interval '17 minutes'
FROM organization, generate_series(1, 16000) AS n
ORDER BY n;

REFRESH MATERIALIZED VIEW audit_summary;

-- 297 applied migrations: one every third day, then the 32 of the last day up to m20260601_320000

INSERT INTO seaql_migrations (version, applied_at)
SELECT
    CASE WHEN n <= 265 THEN to_char(date '2024-01-01' + 3 * (n - 1)::int, '"m"YYYYMMDD"_000001_"')
    ELSE to_char(10000 * (n - 265), '"m20260601_"FM000000"_"') END || change,
    1780272000 + n
FROM (
    SELECT row_number() OVER (ORDER BY step, tablename <> 'user', tablename) AS n, verb || '_' || tablename AS change
    FROM pg_tables, unnest(ARRAY['create', 'index', 'backfill']) WITH ORDINALITY AS verbs (verb, step)
    WHERE schemaname = 'public' AND tablename <> 'seaql_migrations'
) AS history
WHERE n <= 297;

ANALYZE;
