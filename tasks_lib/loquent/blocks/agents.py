"""
The owner's clones of the default agents.

DRIFT RISK. When a user signs up, the product clones its system agents: `clone_system_agent_for_user`, for each of
`DEFAULT_USER_AGENT_SOURCES`. That is Rust code in a crate that migrations cannot call, so the SQL below repeats it.
A change of one requires a change of the other. To notice new columns, the build stops if one of these tables has a
column that is missing from `COLUMNS`.
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
"""Slugs of `DEFAULT_USER_AGENT_SOURCES`. Agent Creator belongs to the platform and is never cloned."""

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
"""The value of each column in a clone, by table."""


def _require_known_columns(connection: Connection[Any], values: Mapping[str, Any], inputs: Inputs) -> Mapping[str, Any]:
    """
    Check that a clone gets a value in every column; return no parameters.

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
            f"the clone of an agent has no value for {', '.join(f'`{column}`' for column in unknown)}",
            why="clone_system_agent_for_user may give it a special value, without which the agent may not work",
            hint="add the column to COLUMNS in tasks_lib/loquent/blocks/agents.py",
        )
    return {}


# A clone that its owner has edited keeps its skills and edges.
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
    # In this order: the later statements refer to the clones that the first one makes.
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
