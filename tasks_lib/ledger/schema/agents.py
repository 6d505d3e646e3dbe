"""
Agents, their accounts and their logs.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tasks_lib.ledger.schema.base import Base, Created, Timestamped, choice, reference


class AgentStatus(StrEnum):
    """What an agent is doing."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING_FOR_INPUT = "waiting_for_input"
    STOPPED = "stopped"
    CRASHED = "crashed"


GONE = (AgentStatus.STOPPED, AgentStatus.CRASHED)
"""The statuses of agents that will neither answer nor finish their task."""


HOLDING = (AgentStatus.RUNNING, AgentStatus.WAITING_FOR_INPUT)
"""The statuses in which `task_id` is the task that the agent holds; otherwise it is the last one it held."""


class AgentMode(StrEnum):
    """The kind of work that an agent does."""

    EXECUTE = "execute"
    DISCUSS = "discuss"
    PLAN = "plan"
    DETAIL = "detail"
    REFINE = "refine"


class Agent(Timestamped, Base, kw_only=True):
    """
    A coding agent, or a person at a terminal.

    Attributes:
        name: Unique; adjective-animal by default.
        task_id: The task it holds, or the last one it held.
        session_id: The id of the agent's own session, to resume it.
        worktree_id: The repository's id and the slug of the worktree's record, or `main` for the main worktree.
        pid: The agent's process; when it ends, the agent is lost. `host` and `pid_started_at` belong to it, because a
            pid alone is ambiguous on another machine, or once it is reused. On Linux the start counts from the boot.
        result: The outcome of its run.
        pending_questions: Its questions to the user.
    """

    __tablename__ = "agents"

    name: Mapped[str] = mapped_column(unique=True)
    task_id: Mapped[str | None] = mapped_column(reference("tasks.id", "SET NULL"), index=True, default=None)
    initiative_id: Mapped[str | None] = mapped_column(reference("initiatives.id", "SET NULL"), default=None)
    session_id: Mapped[str | None] = mapped_column(default=None)
    worktree_id: Mapped[str] = mapped_column(index=True)
    provider: Mapped[str] = mapped_column(default="claude")
    account_id: Mapped[str | None] = mapped_column(reference("accounts.id", "SET NULL"), default=None)
    status: Mapped[AgentStatus] = mapped_column(choice(AgentStatus), default=AgentStatus.IDLE)
    mode: Mapped[AgentMode] = mapped_column(choice(AgentMode), default=AgentMode.EXECUTE)
    pid: Mapped[int | None] = mapped_column(default=None)
    host: Mapped[str | None] = mapped_column(default=None)
    pid_started_at: Mapped[datetime | None] = mapped_column(default=None)
    exit_code: Mapped[int | None] = mapped_column(default=None)
    output_file_path: Mapped[str | None] = mapped_column(default=None)
    result: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    pending_questions: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    user_dismissed_at: Mapped[datetime | None] = mapped_column(default=None)


# A task has one holder, even if the code has a bug.
sa.Index(
    "uq_agents_holder",
    Agent.__table__.c.task_id,
    unique=True,
    sqlite_where=sa.text("status IN ('running', 'waiting_for_input')"),
    postgresql_where=sa.text("status IN ('running', 'waiting_for_input')"),
)


class Account(Timestamped, Base, kw_only=True):
    """
    An account with a provider of agents.

    Attributes:
        config_json: The provider's own configuration file, as text; never printed.
        credentials: The provider's own credentials file, as text; never printed.
        exhausted_until: The end of its limit; None while exhausted means until it is cleared.
        last_used_at: The last time it was given out; accounts are used in this order.
    """

    __tablename__ = "accounts"

    email: Mapped[str]
    provider: Mapped[str] = mapped_column(default="claude")
    config_json: Mapped[str | None] = mapped_column(default=None, repr=False, info={"secret": True})
    credentials: Mapped[str | None] = mapped_column(default=None, repr=False, info={"secret": True})
    is_exhausted: Mapped[bool] = mapped_column(default=False)
    exhausted_until: Mapped[datetime | None] = mapped_column(default=None)
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)
    sort_order: Mapped[int] = mapped_column(default=0)


class LogChunk(Created, Base, kw_only=True):
    """
    A piece of an agent's output; append-only, and kept when the agent is deleted.

    Attributes:
        agent_name: The agent's name at that time.
        session_number: 1 for the first session, one more for each later one.
        content: The output as it was printed.
    """

    __tablename__ = "agent_log_chunks"

    agent_id: Mapped[str] = mapped_column(index=True)
    agent_name: Mapped[str]
    session_number: Mapped[int]
    content: Mapped[str]
