"""
Agents: who works, on whose account, and what they printed.
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
"""The states of agents that will not answer, nor finish what they hold."""


HOLDING = (AgentStatus.RUNNING, AgentStatus.WAITING_FOR_INPUT)
"""The states in which an agent's task is held by it; in the others it is the last one that it held."""


class AgentMode(StrEnum):
    """What an agent is there for."""

    EXECUTE = "execute"
    DISCUSS = "discuss"
    PLAN = "plan"
    DETAIL = "detail"
    REFINE = "refine"


class Agent(Timestamped, Base, kw_only=True):
    """
    A coding agent, or a person at a terminal.

    Attributes:
        name: How it is called: adjective-animal.
        task_id: The task it holds, or the last one it held.
        session_id: The session of its own command line, to resume it.
        worktree_id: Repository id and slug of the registry's record, or `main` for the main worktree.
        pid: The process whose end means that the agent is lost; on `host`, started at `pid_started_at`, which on
            Linux counts from the machine's boot.
            The two are ours, not the seed's: a pid says nothing on another machine, or once it is given anew.
        result: What it ended with.
        pending_questions: What it wants to know from its user.
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


# One task, one holder, whatever code may have been wrong about it.
sa.Index(
    "uq_agents_holder",
    Agent.__table__.c.task_id,
    unique=True,
    sqlite_where=sa.text("status IN ('running', 'waiting_for_input')"),
    postgresql_where=sa.text("status IN ('running', 'waiting_for_input')"),
)


class Account(Timestamped, Base, kw_only=True):
    """
    A login with a provider.

    Attributes:
        config_json: The provider's own configuration file, as text; never printed.
        credentials: The provider's own credentials file, as text; never printed.
        exhausted_until: When its limit ends; None while exhausted means until somebody clears it.
        last_used_at: When it was last given out, by which they take turns.
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
    A piece of what an agent printed; append-only, and kept when the agent goes.

    Attributes:
        agent_name: As it was called then.
        session_number: 1 when it was spawned, one more at each resume.
        content: Raw JSON lines.
    """

    __tablename__ = "agent_log_chunks"

    agent_id: Mapped[str] = mapped_column(index=True)
    agent_name: Mapped[str]
    session_number: Mapped[int]
    content: Mapped[str]
