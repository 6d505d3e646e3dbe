"""
Create the first 14 tables: work, agents, pages, proposals, messages, conversations.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "initiatives",
        *_identified(),
        _text("name"),
        _choice("status", "initiativestatus", "active", "completed", "archived"),
        sa.Column("merge_requires_approval", sa.Boolean, nullable=False),
        _text("branch", nullable=True),
    )
    op.create_table(
        "phases",
        *_identified(),
        _refers("initiative_id", "initiatives", "CASCADE", index=True),
        _text("name"),
        _text("content", nullable=True),
        _choice("status", "phasestatus", "pending", "approved", "in_progress", "completed", "blocked"),
    )
    op.create_table(
        "phase_dependencies",
        _refers("phase_id", "phases", "CASCADE", primary_key=True),
        _refers("depends_on_phase_id", "phases", "CASCADE", primary_key=True, index=True),
        sa.CheckConstraint("phase_id <> depends_on_phase_id", name="other"),
    )
    op.create_table(
        "tasks",
        *_identified(),
        _refers("phase_id", "phases", "CASCADE", nullable=True, index=True),
        _refers("initiative_id", "initiatives", "CASCADE", nullable=True, index=True),
        _refers("parent_task_id", "tasks", "CASCADE", nullable=True, index=True),
        _text("name"),
        _text("description", nullable=True),
        _choice(
            "type", "tasktype", "auto", "checkpoint:human-verify", "checkpoint:decision", "checkpoint:human-action"
        ),
        _choice(
            "category",
            "taskcategory",
            *("execute", "research", "discuss", "plan", "detail", "refine", "verify", "merge", "review"),
        ),
        _choice("priority", "priority", "low", "medium", "high"),
        _choice("status", "taskstatus", "pending_approval", "pending", "in_progress", "completed", "blocked"),
        sa.Column("requires_approval", sa.Boolean),
        sa.Column("order", sa.Integer, nullable=False),
    )
    op.create_table(
        "task_dependencies",
        _refers("task_id", "tasks", "CASCADE", primary_key=True),
        _refers("depends_on_task_id", "tasks", "CASCADE", primary_key=True, index=True),
        sa.CheckConstraint("task_id <> depends_on_task_id", name="other"),
    )
    op.create_table(
        "accounts",
        *_identified(),
        _text("email"),
        _text("provider"),
        _text("config_json", nullable=True),
        _text("credentials", nullable=True),
        sa.Column("is_exhausted", sa.Boolean, nullable=False),
        _moment("exhausted_until", nullable=True),
        _moment("last_used_at", nullable=True),
        sa.Column("sort_order", sa.Integer, nullable=False),
    )
    op.create_table(
        "agents",
        *_identified(),
        _text("name", unique=True),
        _refers("task_id", "tasks", "SET NULL", nullable=True, index=True),
        _refers("initiative_id", "initiatives", "SET NULL", nullable=True),
        _text("session_id", nullable=True),
        _text("worktree_id", index=True),
        _text("provider"),
        _refers("account_id", "accounts", "SET NULL", nullable=True),
        _choice("status", "agentstatus", "idle", "running", "waiting_for_input", "stopped", "crashed"),
        _choice("mode", "agentmode", "execute", "discuss", "plan", "detail", "refine"),
        sa.Column("pid", sa.Integer),
        sa.Column("exit_code", sa.Integer),
        _text("output_file_path", nullable=True),
        sa.Column("result", sa.JSON),
        sa.Column("pending_questions", sa.JSON),
        _moment("user_dismissed_at", nullable=True),
    )
    op.create_table(
        "proposals",
        *_identified(),
        _refers("agent_id", "agents", "CASCADE", index=True),
        _refers("initiative_id", "initiatives", "CASCADE", index=True),
        _choice("target_type", "proposaltarget", "page", "phase", "task"),
        _text("target_id", nullable=True),
        _text("title"),
        _text("summary", nullable=True),
        _text("content", nullable=True),
        sa.Column("metadata", sa.JSON),
        _choice("status", "proposalstatus", "pending", "accepted", "dismissed"),
        sa.Column("sort_order", sa.Integer, nullable=False),
    )
    op.create_table(
        "pages",
        *_identified(),
        _refers("initiative_id", "initiatives", "CASCADE", index=True),
        _refers("parent_page_id", "pages", "CASCADE", nullable=True, index=True),
        _text("title"),
        _text("content", nullable=True),
        sa.Column("sort_order", sa.Integer, nullable=False),
    )
    root = sa.text("parent_page_id IS NULL")
    op.create_index("uq_pages_root", "pages", ["initiative_id"], unique=True, sqlite_where=root, postgresql_where=root)
    op.create_table(
        "projects", *_identified(), _text("name", unique=True), _text("url", unique=True), _text("default_branch")
    )
    op.create_table(
        "initiative_projects",
        _refers("initiative_id", "initiatives", "CASCADE", primary_key=True),
        _refers("project_id", "projects", "CASCADE", primary_key=True, index=True),
        _moment("created_at"),
    )
    op.create_table(
        "messages",
        *_identified(),
        _choice("sender_type", "sender", "agent", "user"),
        _refers("sender_id", "agents", "SET NULL", nullable=True),
        _choice("recipient_type", "recipient", "agent", "user"),
        _refers("recipient_id", "agents", "SET NULL", nullable=True),
        _choice("type", "messagetype", "question", "info", "error", "response"),
        _text("content"),
        sa.Column("requires_response", sa.Boolean, nullable=False),
        _choice("status", "messagestatus", "pending", "read", "responded"),
        _refers("parent_message_id", "messages", "SET NULL", nullable=True, index=True),
    )
    op.create_table(
        "agent_log_chunks",
        _id(),
        _text("agent_id", index=True),
        _text("agent_name"),
        sa.Column("session_number", sa.Integer, nullable=False),
        _text("content"),
        _moment("created_at"),
    )
    op.create_table(
        "conversations",
        *_identified(),
        _refers("from_agent_id", "agents", "CASCADE", index=True),
        _refers("to_agent_id", "agents", "CASCADE"),
        _refers("initiative_id", "initiatives", "SET NULL", nullable=True),
        _refers("phase_id", "phases", "SET NULL", nullable=True),
        _refers("task_id", "tasks", "SET NULL", nullable=True),
        _text("question"),
        _text("answer", nullable=True),
        _choice("status", "conversationstatus", "pending", "answered"),
        sa.CheckConstraint("from_agent_id <> to_agent_id", name="other"),
    )
    op.create_index(op.f("ix_conversations_to_agent_id_status"), "conversations", ["to_agent_id", "status"])


def downgrade() -> None:
    """Drop the tables, referring tables first."""
    for table in (
        *("conversations", "agent_log_chunks", "messages", "initiative_projects", "projects", "pages", "proposals"),
        *("agents", "accounts", "task_dependencies", "tasks", "phase_dependencies", "phases", "initiatives"),
    ):
        op.drop_table(table)


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.Text, primary_key=True)


def _identified() -> tuple[sa.Column[Any], ...]:
    return _id(), _moment("created_at"), _moment("updated_at")


def _text(name: str, *, nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=nullable, **options)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _refers(name: str, table: str, ondelete: str, *, nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, sa.ForeignKey(f"{table}.id", ondelete=ondelete), nullable=nullable, **options)


def _choice(name: str, check: str, *values: str) -> sa.Column[Any]:
    kind = sa.Enum(*values, name=check, native_enum=False, create_constraint=True, length=30)
    return sa.Column(name, kind, nullable=False)
