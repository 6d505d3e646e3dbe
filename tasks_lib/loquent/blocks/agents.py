"""
The owner's clones of the default agents: seed 001, section 05.

DRIFT RISK. The product clones its system agents when somebody signs up: `clone_system_agent_for_user`, for each of
`DEFAULT_USER_AGENT_SOURCES`. That is Rust, in a crate that no migration and no seed can call; the SQL below repeats
what it does. Whoever changes the one has to change the other. What the schema can tell is held here: a column that
these tables have and `COLUMNS` does not name stops the build, so that nobody forgets to say what a clone gets of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.errors import DatabaseError
from tasks_lib.loquent.block import Block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from tasks_lib.loquent.block import Inputs

SOURCES = ("master-orchestrator", "loquent-assistant", "follow-up-drafter", "text-reply")
"""Slugs of `DEFAULT_USER_AGENT_SOURCES`. Agent Creator is the platform's only one and never cloned."""

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "ai_agent": {
        "id": "default",
        "organization_id": "the member's",
        "user_id": "the member's",
        "system_source_id": "the source's id",
        "slug": "copied",
        "name": "copied",
        "instructions": "copied",
        "model": "copied",
        "is_unedited_clone": "true",
        "created_at": "default",
    },
    "ai_agent_memory": {"ai_agent_id": "the clone's", "content": "default"},
    "ai_agent_skill": {"ai_agent_id": "the clone's", "skill_id": "copied", "is_enabled": "copied"},
    "ai_agent_can_invoke": {"caller_id": "the clone's", "callee_id": "the callee's clone, or itself"},
}
"""What a clone gets in each column of each table."""


def _require_known_columns(connection: Connection[Any], values: Mapping[str, Any], inputs: Inputs) -> Mapping[str, Any]:
    """
    Make sure that nothing of an agent is forgotten; there is nothing else to prepare.

    Raises:
        DatabaseError: If a table has a column that `COLUMNS` does not name.
    """
    found = connection.execute(
        "SELECT relname || '.' || attname, relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE attrelid = ANY(%s::regclass[]) AND attnum > 0 AND NOT attisdropped ORDER BY 1",
        [list(COLUMNS)],
    )
    unknown = [shown for shown, table, column in found if column not in COLUMNS[table]]
    if unknown:
        raise DatabaseError(
            f"the clone of an agent knows nothing of {', '.join(f'`{one}`' for one in unknown)}",
            why="clone_system_agent_for_user may treat it in a way of its own, and an agent without it may be broken",
            hint="say what a clone gets there, in tasks_lib/loquent/blocks/agents.py",
        )
    return {}


# A clone that its owner has edited keeps the skills and edges that it has.
AGENTS = Block(
    "agents",
    wanted="""
        WITH source AS (
            SELECT * FROM ai_agent WHERE organization_id IS NULL AND slug = ANY(%(sources)s)
        ), clone AS (
            SELECT * FROM ai_agent WHERE (organization_id, user_id) = (%(organization_id)s, %(owner_id)s)
        ), skills AS (
            SELECT clone.id AS ai_agent_id, skill_id, is_enabled, clone.name
            FROM ai_agent_skill
            JOIN source ON source.id = ai_agent_id
            JOIN clone ON clone.system_source_id = source.id AND clone.is_unedited_clone
            WHERE NOT EXISTS (
                SELECT FROM ai_agent_skill AS old
                WHERE (old.ai_agent_id, old.skill_id) = (clone.id, ai_agent_skill.skill_id)
            )
        ), edges AS (
            SELECT clone.id AS caller_id, coalesce(callee.id, callee_id) AS callee_id, clone.name
            FROM ai_agent_can_invoke
            JOIN source ON source.id = caller_id
            JOIN clone ON clone.system_source_id = source.id AND clone.is_unedited_clone
            LEFT JOIN clone AS callee
                ON callee.system_source_id = callee_id AND callee_id IN (SELECT id FROM source)
            WHERE NOT EXISTS (
                SELECT FROM ai_agent_can_invoke AS old
                WHERE (old.caller_id, old.callee_id) = (clone.id, coalesce(callee.id, ai_agent_can_invoke.callee_id))
            )
        ), memories AS (
            SELECT id AS ai_agent_id, name FROM clone
            WHERE system_source_id IN (SELECT id FROM source)
                AND NOT EXISTS (SELECT FROM ai_agent_memory WHERE ai_agent_id = clone.id)
        ), agents AS (
            SELECT * FROM source WHERE NOT EXISTS (SELECT FROM clone WHERE system_source_id = source.id)
        )
    """,
    missing="""
        SELECT name FROM agents
        UNION ALL SELECT 'memory of ' || name FROM memories
        UNION ALL SELECT 'skill of ' || name FROM skills
        UNION ALL SELECT 'edge of ' || name FROM edges
        ORDER BY 1
    """,
    # One after the other: what follows refers to the clones that the first has made.
    make=(
        """
        INSERT INTO ai_agent (
            organization_id, user_id, system_source_id, slug, name, instructions, model, is_unedited_clone
        )
        SELECT %(organization_id)s, %(owner_id)s, id, slug, name, instructions, model, true FROM agents
        """,
        "INSERT INTO ai_agent_memory (ai_agent_id) SELECT ai_agent_id FROM memories",
        """
        INSERT INTO ai_agent_skill (ai_agent_id, skill_id, is_enabled)
        SELECT ai_agent_id, skill_id, is_enabled FROM skills
        """,
        "INSERT INTO ai_agent_can_invoke (caller_id, callee_id) SELECT caller_id, callee_id FROM edges",
    ),
    parameters={"sources": list(SOURCES)},
    prepare=_require_known_columns,
    needs=("owner",),
)
