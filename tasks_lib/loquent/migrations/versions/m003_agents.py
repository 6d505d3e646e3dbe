"""AI agents: those of the system, which have no organization, and each member's clones of them."""

from __future__ import annotations

from alembic import op

revision = "m003"
down_revision = "m002"

SQL = r"""
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
COMMENT ON TABLE ai_agent IS 'System agents have no organization; each member gets clones of them (system_source_id)';
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

INSERT INTO ai_agent (slug, name, instructions, model) VALUES
    ('master-orchestrator', 'Master Orchestrator',
     'Delegate each request to the agent that can fulfil it.', '{"name": "large"}'),
    ('loquent-assistant', 'Loquent Assistant',
     'Help the user with contacts, tasks and calls.', '{"name": "large"}'),
    ('follow-up-drafter', 'Follow-up Drafter',
     'Draft one follow-up for each contact.', '{"name": "small"}'),
    ('text-reply', 'Text Reply',
     'Answer text messages in the tone of the organization.', '{"name": "small", "max_tokens": 400}'),
    ('agent-creator', 'Agent Creator',
     'Interview the user, then write a new agent.', '{"name": "large"}');

INSERT INTO skill (slug, name) VALUES
    ('delegation', 'Delegation'),
    ('contact-search', 'Contact search'),
    ('task-planning', 'Task planning'),
    ('message-drafting', 'Message drafting');

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
"""


def upgrade() -> None:
    """Create the tables, the system agents and their skills."""
    op.execute(SQL)
