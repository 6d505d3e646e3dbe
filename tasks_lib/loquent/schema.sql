-- The Loquent account that seeds 000 and 001 describe, as strict as PostgreSQL 13 can say it.
--
-- Tables stand in the build order of seed 001, section 09: a row that comes before what it needs fails on a foreign
-- key. Keys are UUIDs, because `INSERT ... ON CONFLICT DO NOTHING` would use up a sequence's values, and a build that
-- runs twice must leave no trace. The sequences here (task.number, audit_log.id, ...) sit where no build conflicts.

CREATE TYPE channel AS ENUM ('sms', 'call', 'email');
CREATE TYPE direction AS ENUM ('inbound', 'outbound');
CREATE TYPE lifecycle AS ENUM ('draft', 'active', 'archived');
CREATE TYPE presence AS ENUM ('available', 'busy', 'away', 'offline');
CREATE TYPE priority AS ENUM ('low', 'normal', 'high', 'urgent');
CREATE TYPE routing_mode AS ENUM ('ai_agent', 'staff', 'voicemail');
CREATE TYPE subscription_status AS ENUM ('trialing', 'active', 'past_due', 'canceled');

CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

-- People and their organization

CREATE TABLE "user" (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL UNIQUE CHECK (email = lower(email) AND email LIKE '%_@_%'),
    display_name text NOT NULL CHECK (display_name <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE email_password_account (
    user_id uuid PRIMARY KEY REFERENCES "user" ON DELETE CASCADE,
    password_hash text NOT NULL CHECK (password_hash LIKE '$%'),
    verified_at timestamptz
);
COMMENT ON COLUMN email_password_account.password_hash IS 'PHC string; never the password itself';

CREATE TABLE organization (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL CHECK (name <> ''),
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9-]+$'),
    settings jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE member (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organization ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES "user" ON DELETE CASCADE,
    is_owner boolean NOT NULL DEFAULT false,
    joined_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, user_id)
);
CREATE UNIQUE INDEX member_one_owner ON member (organization_id) WHERE is_owner;

CREATE TABLE staff_presence (
    member_id uuid PRIMARY KEY REFERENCES member ON DELETE CASCADE,
    status presence NOT NULL DEFAULT 'offline',
    changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tag (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organization ON DELETE CASCADE,
    name text NOT NULL CHECK (name <> ''),
    color text NOT NULL CHECK (color ~ '^#[0-9a-f]{6}$'),
    is_default boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX tag_name_per_organization ON tag (organization_id, lower(name));

CREATE TABLE notification_preference (
    user_id uuid REFERENCES "user" ON DELETE CASCADE,
    event text CHECK (event <> ''),
    channel channel,
    is_enabled boolean NOT NULL DEFAULT true,
    PRIMARY KEY (user_id, event, channel)
);

-- Plan and configuration

CREATE TABLE core_conf (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    stripe_secret_key text,
    stripe_webhook_secret text
);

CREATE TABLE subscription_tier (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z]+$'),
    name text NOT NULL,
    sort_order integer NOT NULL UNIQUE,
    credits_per_seat integer NOT NULL CHECK (credits_per_seat >= 0),
    sms_included integer CHECK (sms_included >= 0),
    call_minutes_included integer CHECK (call_minutes_included >= 0),
    ai_messages_included integer CHECK (ai_messages_included >= 0),
    has_ai_agents boolean NOT NULL,
    has_bulk_messaging boolean NOT NULL,
    has_call_recording boolean NOT NULL,
    has_api_access boolean NOT NULL,
    stripe_product_id text UNIQUE
);

CREATE TABLE organization_subscription (
    organization_id uuid PRIMARY KEY REFERENCES organization ON DELETE CASCADE,
    subscription_tier_id uuid NOT NULL REFERENCES subscription_tier,
    status subscription_status NOT NULL,
    seats integer NOT NULL CHECK (seats > 0),
    current_period_start timestamptz NOT NULL,
    current_period_end timestamptz NOT NULL,
    stripe_subscription_id text UNIQUE,
    CHECK (current_period_end > current_period_start)
);

CREATE TABLE org_budget (
    organization_id uuid PRIMARY KEY REFERENCES organization_subscription ON DELETE CASCADE,
    initial_included_credits integer NOT NULL CHECK (initial_included_credits >= 0),
    included_credits integer NOT NULL,
    sms_included integer NOT NULL CHECK (sms_included >= 0),
    call_minutes_included integer NOT NULL CHECK (call_minutes_included >= 0),
    ai_messages_included integer NOT NULL CHECK (ai_messages_included >= 0),
    CHECK (included_credits BETWEEN 0 AND initial_included_credits)
);

-- Telephony and agents

CREATE TABLE organization_twilio_settings (
    organization_id uuid PRIMARY KEY REFERENCES organization ON DELETE CASCADE,
    account_sid text NOT NULL CHECK (account_sid ~ '^AC[0-9a-f]{32}$'),
    auth_token text NOT NULL CHECK (auth_token <> ''),
    is_byo boolean NOT NULL DEFAULT false,
    event_sink_sid text,
    sms_subscription_sid text,
    call_subscription_sid text,
    twiml_app_sid text,
    api_key_sid text,
    api_key_secret text,
    sms_events_active boolean NOT NULL DEFAULT false,
    call_events_active boolean NOT NULL DEFAULT false,
    connected_at timestamptz,
    CHECK ((api_key_sid IS NULL) = (api_key_secret IS NULL))
);

CREATE TABLE ai_agent (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid REFERENCES organization ON DELETE CASCADE,
    user_id uuid,
    system_source_id uuid REFERENCES ai_agent,
    slug text NOT NULL CHECK (slug ~ '^[a-z-]+$'),
    name text NOT NULL,
    instructions text NOT NULL,
    model jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(model) = 'object'),
    is_unedited_clone boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (organization_id, user_id) REFERENCES member (organization_id, user_id) ON DELETE CASCADE,
    CHECK ((organization_id IS NULL) = (user_id IS NULL)),
    CHECK (system_source_id IS NULL OR organization_id IS NOT NULL),
    CHECK (system_source_id IS NOT NULL OR NOT is_unedited_clone)
);
COMMENT ON TABLE ai_agent IS 'System agents belong to nobody; each member gets clones of them (system_source_id)';
CREATE UNIQUE INDEX ai_agent_system_slug ON ai_agent (slug) WHERE organization_id IS NULL;
CREATE UNIQUE INDEX ai_agent_one_clone_per_member ON ai_agent (organization_id, user_id, system_source_id)
    WHERE system_source_id IS NOT NULL;

CREATE TABLE ai_agent_memory (
    ai_agent_id uuid PRIMARY KEY REFERENCES ai_agent ON DELETE CASCADE,
    content text NOT NULL DEFAULT ''
);

CREATE TABLE skill (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z-]+$'),
    name text NOT NULL
);

CREATE TABLE ai_agent_skill (
    ai_agent_id uuid REFERENCES ai_agent ON DELETE CASCADE,
    skill_id uuid REFERENCES skill,
    is_enabled boolean NOT NULL DEFAULT true,
    PRIMARY KEY (ai_agent_id, skill_id)
);

CREATE TABLE ai_agent_can_invoke (
    caller_id uuid REFERENCES ai_agent ON DELETE CASCADE,
    callee_id uuid REFERENCES ai_agent ON DELETE CASCADE,
    PRIMARY KEY (caller_id, callee_id),
    CHECK (caller_id <> callee_id)
);

CREATE TABLE phone_number (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organization_twilio_settings ON DELETE CASCADE,
    number text NOT NULL UNIQUE CHECK (number ~ '^\+[1-9][0-9]{6,14}$'),
    twilio_sid text NOT NULL UNIQUE CHECK (twilio_sid ~ '^PN[0-9a-f]{32}$'),
    friendly_name text NOT NULL,
    ai_agent_sms_enabled boolean NOT NULL DEFAULT false,
    ai_agent_call_enabled boolean NOT NULL DEFAULT false,
    routing_mode routing_mode NOT NULL DEFAULT 'staff',
    voice_webhook_active boolean NOT NULL DEFAULT false,
    ai_agent_id uuid REFERENCES ai_agent ON DELETE SET NULL
);

-- Contacts and what happened with them

CREATE TABLE contact (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organization ON DELETE CASCADE,
    first_name text NOT NULL CHECK (first_name <> ''),
    last_name text NOT NULL DEFAULT '',
    full_name text NOT NULL GENERATED ALWAYS AS (btrim(first_name || ' ' || last_name)) STORED,
    email text,
    custom_fields jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(custom_fields) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX contact_email_per_organization ON contact (organization_id, lower(email));
CREATE INDEX contact_custom_fields ON contact USING gin (custom_fields jsonb_path_ops);
CREATE TRIGGER touch BEFORE UPDATE ON contact FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE contact_phone (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    contact_id uuid NOT NULL REFERENCES contact ON DELETE CASCADE,
    number text NOT NULL CHECK (number ~ '^\+[1-9][0-9]{6,14}$'),
    is_primary boolean NOT NULL DEFAULT false,
    UNIQUE (contact_id, number)
);
CREATE UNIQUE INDEX contact_phone_one_primary ON contact_phone (contact_id) WHERE is_primary;

CREATE TABLE contact_tag (
    contact_id uuid REFERENCES contact ON DELETE CASCADE,
    tag_id uuid REFERENCES tag ON DELETE CASCADE,
    PRIMARY KEY (contact_id, tag_id)
);

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

CREATE TABLE task (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    number serial NOT NULL UNIQUE,
    contact_id uuid NOT NULL REFERENCES contact ON DELETE CASCADE,
    assignee_id uuid REFERENCES member ON DELETE SET NULL,
    title text NOT NULL CHECK (title <> ''),
    priority priority NOT NULL DEFAULT 'normal',
    due_at timestamptz,
    completed_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (contact_id, title)
);
CREATE INDEX task_open ON task (due_at) WHERE completed_at IS NULL;
CREATE TRIGGER touch BEFORE UPDATE ON task FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE contact_note (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    contact_id uuid NOT NULL REFERENCES contact ON DELETE CASCADE,
    author_id uuid REFERENCES member ON DELETE SET NULL,
    area text NOT NULL CHECK (area IN ('manual', 'ai_summary')),
    body text NOT NULL CHECK (body <> ''),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (contact_id, area, created_at),
    CHECK (area = 'manual' OR author_id IS NULL)
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

-- The rest of the product: three tables for each feature, so that a clone has as many relations as a real one

DO $$
DECLARE
    feature text;
BEGIN
    FOREACH feature IN ARRAY ARRAY[
        'appointment', 'automation', 'broadcast', 'calendar', 'campaign', 'checklist', 'deal', 'document',
        'email_template', 'form', 'inbox', 'integration', 'invoice', 'knowledge_article', 'landing_page', 'meeting',
        'payment', 'pipeline', 'playbook', 'product', 'quote', 'referral', 'report', 'review', 'role', 'segment',
        'survey', 'ticket', 'voicemail', 'webhook', 'workflow'
    ] LOOP
        EXECUTE format($ddl$
            CREATE TABLE %1$s (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                organization_id uuid NOT NULL REFERENCES organization ON DELETE CASCADE,
                name text NOT NULL,
                status lifecycle NOT NULL DEFAULT 'draft',
                settings jsonb NOT NULL DEFAULT '{}',
                updated_at timestamptz NOT NULL DEFAULT now(),
                UNIQUE (organization_id, name)
            );
            CREATE TRIGGER touch BEFORE UPDATE ON %1$s FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
            CREATE TABLE %1$s_item (
                %1$s_id uuid REFERENCES %1$s ON DELETE CASCADE,
                position smallint CHECK (position > 0),
                body text NOT NULL,
                PRIMARY KEY (%1$s_id, position)
            );
            CREATE TABLE %1$s_event (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                %1$s_id uuid NOT NULL REFERENCES %1$s ON DELETE CASCADE,
                happened_at timestamptz NOT NULL DEFAULT now()
            );
            CREATE INDEX ON %1$s_event (%1$s_id, happened_at);
        $ddl$, feature);
    END LOOP;
END
$$;

CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organization ON DELETE CASCADE,
    action text NOT NULL,
    detail jsonb NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_log_happened_at ON audit_log (organization_id, happened_at);

CREATE VIEW contact_overview AS
SELECT
    contact.id,
    contact.full_name,
    count(DISTINCT message.id) AS messages,
    max(message.sent_at) AS last_message_at
FROM contact
LEFT JOIN message ON message.contact_id = contact.id
GROUP BY contact.id;

CREATE MATERIALIZED VIEW audit_summary AS
SELECT organization_id, action, count(*) AS entries, max(happened_at) AS last_at
FROM audit_log
GROUP BY organization_id, action
WITH NO DATA;
CREATE UNIQUE INDEX audit_summary_key ON audit_summary (organization_id, action);

CREATE TABLE seaql_migrations (
    version varchar PRIMARY KEY,
    applied_at bigint NOT NULL
);

-- Debian keeps contrib in the server's package, others do not; a server without it still gets all the rest.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
        CREATE EXTENSION pg_trgm;
        CREATE INDEX contact_full_name_trigram ON contact USING gin (full_name gin_trgm_ops);
    END IF;
END
$$;
