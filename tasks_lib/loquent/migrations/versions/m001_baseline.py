"""The schema as 297 SeaORM migrations have left it: all that the old seed filled."""

from __future__ import annotations

from alembic import op

revision = "m001"
down_revision = None

SQL = r"""
CREATE TYPE channel AS ENUM ('sms', 'call', 'email');
CREATE TYPE direction AS ENUM ('inbound', 'outbound');
CREATE TYPE lifecycle AS ENUM ('draft', 'active', 'archived');
CREATE TYPE presence AS ENUM ('available', 'busy', 'away', 'offline');
CREATE TYPE priority AS ENUM ('low', 'normal', 'high', 'urgent');

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

-- Contacts

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
"""


def upgrade() -> None:
    """Create the tables, and the record of the 297."""
    op.execute(SQL)
