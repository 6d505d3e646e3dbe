"""
Add reviews, chats, errands, sets of changes, summaries and retries; drop approvals and checkpoints for people.

A task that waits for an approval becomes `pending`, and a checkpoint for people becomes `auto`. Whether merges or tasks
require an approval is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from alembic.operations.base import BatchOperations

revision = "0002"
down_revision = "0001"

QUEUED = sa.text("status = 'pending' AND category NOT IN ('research', 'discuss', 'plan', 'detail', 'refine')")
IN_PROGRESS = sa.text("status = 'in_progress'")
ACTIVE = sa.text("status = 'active'")
HOLDING = sa.text("status IN ('running', 'waiting_for_input')")
URGENCY = sa.text("(CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END)")


def upgrade() -> None:
    """Convert the data, change the tables, create the new ones."""
    op.execute("UPDATE tasks SET status = 'pending' WHERE status = 'pending_approval'")
    op.execute("UPDATE tasks SET type = 'auto' WHERE type LIKE 'checkpoint:%'")
    # A task has one holder: the agent active last.
    op.execute(
        "UPDATE agents SET status = 'idle' WHERE status IN ('running', 'waiting_for_input') AND EXISTS ("
        "SELECT 1 FROM agents AS later WHERE later.task_id = agents.task_id"
        " AND later.status IN ('running', 'waiting_for_input')"
        " AND (later.updated_at > agents.updated_at"
        " OR (later.updated_at = agents.updated_at AND later.id > agents.id)))"
    )
    with op.batch_alter_table("initiatives") as table:
        _rule(table, "initiatives", "status", "initiativestatus", "active pending_review completed archived")
        table.drop_column("merge_requires_approval")
    with op.batch_alter_table("phases") as table:
        states = "pending approved in_progress completed blocked pending_review"
        _rule(table, "phases", "status", "phasestatus", states)
        table.add_column(sa.Column("merge_base", sa.Text))
    with op.batch_alter_table("tasks") as table:
        _rule(table, "tasks", "type", "tasktype", "auto")
        _rule(table, "tasks", "status", "taskstatus", "pending in_progress completed blocked")
        table.drop_column("requires_approval")
        table.add_column(sa.Column("summary", sa.Text))
        table.add_column(sa.Column("retry_count", sa.Integer, nullable=False, server_default="0"))
    with op.batch_alter_table("projects") as table:
        table.add_column(sa.Column("last_fetched_at", sa.BigInteger))
    with op.batch_alter_table("agents") as table:
        table.add_column(sa.Column("host", sa.Text))
        table.add_column(sa.Column("pid_started_at", sa.BigInteger))
    queue: list[str | sa.TextClause] = [URGENCY, "order", "created_at", "id"]
    op.create_index("ix_tasks_queue", "tasks", queue, sqlite_where=QUEUED, postgresql_where=QUEUED)
    op.create_index("ix_tasks_held", "tasks", ["id"], sqlite_where=IN_PROGRESS, postgresql_where=IN_PROGRESS)
    _unique("uq_agents_holder", "agents", ["task_id"], HOLDING)
    _make_new_tables()


def downgrade() -> None:
    """Downgrade; the new tables and columns are lost, and no merge or task requires an approval."""
    for name in ("review_comments", "errands", "chat_messages", "chat_sessions", "change_sets"):
        op.drop_table(name)
    op.execute("UPDATE initiatives SET status = 'active' WHERE status = 'pending_review'")
    op.execute("UPDATE phases SET status = 'in_progress' WHERE status = 'pending_review'")
    for index, name in (("ix_tasks_queue", "tasks"), ("ix_tasks_held", "tasks"), ("uq_agents_holder", "agents")):
        op.drop_index(index, name)
    with op.batch_alter_table("agents") as table:
        table.drop_column("pid_started_at")
        table.drop_column("host")
    with op.batch_alter_table("projects") as table:
        table.drop_column("last_fetched_at")
    with op.batch_alter_table("tasks") as table:
        types = "auto checkpoint:human-verify checkpoint:decision checkpoint:human-action"
        _rule(table, "tasks", "type", "tasktype", types)
        _rule(table, "tasks", "status", "taskstatus", "pending_approval pending in_progress completed blocked")
        table.add_column(sa.Column("requires_approval", sa.Boolean))
        table.drop_column("summary")
        table.drop_column("retry_count")
    with op.batch_alter_table("phases") as table:
        _rule(table, "phases", "status", "phasestatus", "pending approved in_progress completed blocked")
        table.drop_column("merge_base")
    with op.batch_alter_table("initiatives") as table:
        _rule(table, "initiatives", "status", "initiativestatus", "active completed archived")
        approval = sa.Column("merge_requires_approval", sa.Boolean, nullable=False, server_default=sa.false())
        table.add_column(approval)


def _make_new_tables() -> None:
    op.create_table(
        "change_sets",
        *_identified(),
        _refers("agent_id", "agents", "SET NULL", nullable=True),
        sa.Column("agent_name", sa.Text, nullable=False),
        _refers("initiative_id", "initiatives", "CASCADE", index=True),
        _choice("mode", "changesetmode", "plan detail refine chat"),
        sa.Column("summary", sa.Text),
    )
    op.create_table(
        "chat_sessions",
        *_identified(),
        _choice("target_type", "chattarget", "phase task"),
        sa.Column("target_id", sa.Text, nullable=False),
        _refers("initiative_id", "initiatives", "CASCADE", index=True),
        _refers("agent_id", "agents", "SET NULL", nullable=True),
        _choice("status", "chatstatus", "active closed"),
    )
    target = ["target_type", "target_id"]
    op.create_index(op.f("ix_chat_sessions_target_type_target_id"), "chat_sessions", target)
    _unique("uq_chat_sessions_active", "chat_sessions", target, ACTIVE)
    op.create_table(
        "chat_messages",
        *_identified()[:2],
        _refers("chat_session_id", "chat_sessions", "CASCADE", index=True),
        _choice("role", "chatrole", "user assistant system"),
        sa.Column("content", sa.Text, nullable=False),
        _refers("change_set_id", "change_sets", "SET NULL", nullable=True),
    )
    op.create_table(
        "errands",
        *_identified(),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("base_branch", sa.Text, nullable=False),
        _refers("agent_id", "agents", "SET NULL", nullable=True, index=True),
        _refers("project_id", "projects", "CASCADE", nullable=True, index=True),
        _choice("status", "errandstatus", "active pending_review conflict merged abandoned"),
        sa.CheckConstraint("length(description) BETWEEN 1 AND 200", name="description"),
    )
    op.create_table(
        "review_comments",
        *_identified(),
        _refers("phase_id", "phases", "CASCADE", index=True),
        sa.Column("file_path", sa.Text, nullable=False),
        sa.Column("line_number", sa.Integer, nullable=False),
        _choice("line_type", "linetype", "added removed context"),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("resolved", sa.Boolean, nullable=False),
        sa.CheckConstraint("line_number >= 1", name="line_number"),
    )


def _rule(table: BatchOperations, name: str, column: str, check: str, values: str) -> None:
    """Let *column* hold no other *values* than these."""
    allowed = ", ".join(f"'{value}'" for value in values.split())
    table.drop_constraint(op.f(f"ck_{name}_{check}"), type_="check")
    table.create_check_constraint(op.f(f"ck_{name}_{check}"), sa.text(f"{column} IN ({allowed})"))


def _unique(name: str, table: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, table, columns, unique=True, sqlite_where=where, postgresql_where=where)


def _identified() -> tuple[sa.Column[str], sa.Column[int], sa.Column[int]]:
    return (
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )


def _refers(name: str, table: str, ondelete: str, *, nullable: bool = False, index: bool = False) -> sa.Column[str]:
    key = sa.ForeignKey(f"{table}.id", ondelete=ondelete)
    return sa.Column(name, sa.Text, key, nullable=nullable, index=index)


def _choice(name: str, check: str, values: str) -> sa.Column[str]:
    kind = sa.Enum(*values.split(), name=check, native_enum=False, create_constraint=True, length=30)
    return sa.Column(name, kind, nullable=False)
