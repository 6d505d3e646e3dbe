"""
Initiatives, phases, tasks and their dependencies, and projects.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tasks_lib.ledger.schema.base import Base, Timestamped, choice, reference


class InitiativeStatus(StrEnum):
    """The status of an initiative."""

    ACTIVE = "active"
    PENDING_REVIEW = "pending_review"
    COMPLETED = "completed"
    ARCHIVED = "archived"


class PhaseStatus(StrEnum):
    """The status of a phase; its tasks are ready only while it is `approved` or `in_progress`."""

    PENDING = "pending"
    APPROVED = "approved"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BLOCKED = "blocked"
    PENDING_REVIEW = "pending_review"


class TaskType(StrEnum):
    """The only type of task: one that an agent can do. Checkpoints for people were dropped by migration 0002."""

    AUTO = "auto"


class TaskCategory(StrEnum):
    """The kind of work of a task."""

    EXECUTE = "execute"
    RESEARCH = "research"
    DISCUSS = "discuss"
    PLAN = "plan"
    DETAIL = "detail"
    REFINE = "refine"
    VERIFY = "verify"
    MERGE = "merge"
    REVIEW = "review"


PLANNING = (
    TaskCategory.RESEARCH,
    TaskCategory.DISCUSS,
    TaskCategory.PLAN,
    TaskCategory.DETAIL,
    TaskCategory.REFINE,
)
"""Categories that cannot be claimed: a person plans together with an agent."""


class Priority(StrEnum):
    """The urgency of a task."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class TaskStatus(StrEnum):
    """The status of a task."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BLOCKED = "blocked"


class Initiative(Timestamped, Base, kw_only=True):
    """A goal, usually a feature."""

    __tablename__ = "initiatives"

    name: Mapped[str]
    status: Mapped[InitiativeStatus] = mapped_column(choice(InitiativeStatus), default=InitiativeStatus.ACTIVE)
    branch: Mapped[str | None] = mapped_column(default=None)


class Phase(Timestamped, Base, kw_only=True):
    """
    A stage of an initiative, approved and merged as a whole.

    Attributes:
        merge_base: The merge base of its branch before the merge, to show the diff later.
    """

    __tablename__ = "phases"

    initiative_id: Mapped[str] = mapped_column(reference("initiatives.id", "CASCADE"), index=True)
    name: Mapped[str]
    content: Mapped[str | None] = mapped_column(default=None)
    status: Mapped[PhaseStatus] = mapped_column(choice(PhaseStatus), default=PhaseStatus.PENDING)
    merge_base: Mapped[str | None] = mapped_column(default=None)


class PhaseDependency(Base, kw_only=True):
    """A phase that waits for another phase of its initiative."""

    __tablename__ = "phase_dependencies"
    __table_args__ = (sa.CheckConstraint("phase_id <> depends_on_phase_id", name="other"),)

    phase_id: Mapped[str] = mapped_column(reference("phases.id", "CASCADE"), primary_key=True)
    depends_on_phase_id: Mapped[str] = mapped_column(reference("phases.id", "CASCADE"), primary_key=True, index=True)


class Task(Timestamped, Base, kw_only=True):
    """
    A piece of work for one agent.

    Attributes:
        parent_task_id: The task that it is a part of, which is not a dependency.
        order: Its position among tasks of the same priority, the smallest first.
        summary: Its outcome, for the tasks that depend on it; or why it failed.
        retry_count: How often a holder was lost or failed since the last retry.
    """

    __tablename__ = "tasks"

    phase_id: Mapped[str | None] = mapped_column(reference("phases.id", "CASCADE"), index=True, default=None)
    initiative_id: Mapped[str | None] = mapped_column(reference("initiatives.id", "CASCADE"), index=True, default=None)
    parent_task_id: Mapped[str | None] = mapped_column(reference("tasks.id", "CASCADE"), index=True, default=None)
    name: Mapped[str]
    description: Mapped[str | None] = mapped_column(default=None)
    type: Mapped[TaskType] = mapped_column(choice(TaskType), default=TaskType.AUTO)
    category: Mapped[TaskCategory] = mapped_column(choice(TaskCategory), default=TaskCategory.EXECUTE)
    priority: Mapped[Priority] = mapped_column(choice(Priority), default=Priority.MEDIUM)
    status: Mapped[TaskStatus] = mapped_column(choice(TaskStatus), default=TaskStatus.PENDING)
    order: Mapped[int] = mapped_column(default=0)
    summary: Mapped[str | None] = mapped_column(default=None)
    retry_count: Mapped[int] = mapped_column(default=0, server_default="0")


class TaskDependency(Base, kw_only=True):
    """A task that waits for another task of its initiative."""

    __tablename__ = "task_dependencies"
    __table_args__ = (sa.CheckConstraint("task_id <> depends_on_task_id", name="other"),)

    task_id: Mapped[str] = mapped_column(reference("tasks.id", "CASCADE"), primary_key=True)
    depends_on_task_id: Mapped[str] = mapped_column(reference("tasks.id", "CASCADE"), primary_key=True, index=True)


URGENCY = sa.text("(CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END)")
"""The first sort key of the queue. The index below works only with exactly this expression."""

_QUEUED = sa.text(f"status = 'pending' AND category NOT IN {tuple(map(str, PLANNING))}")
sa.Index(
    "ix_tasks_queue",
    URGENCY,
    Task.__table__.c.order,
    Task.__table__.c.created_at,
    Task.__table__.c.id,
    sqlite_where=_QUEUED,
    postgresql_where=_QUEUED,
)
# Few tasks are in progress, at most one per agent, and every search for lost holders reads them.
sa.Index(
    "ix_tasks_held",
    Task.__table__.c.id,
    sqlite_where=sa.text("status = 'in_progress'"),
    postgresql_where=sa.text("status = 'in_progress'"),
)


class Project(Timestamped, Base, kw_only=True):
    """A git repository that initiatives work on."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(unique=True)
    url: Mapped[str] = mapped_column(unique=True)
    default_branch: Mapped[str] = mapped_column(default="main")
    last_fetched_at: Mapped[datetime | None] = mapped_column(default=None)


class InitiativeProject(Base, kw_only=True):
    """A project that an initiative works on."""

    __tablename__ = "initiative_projects"

    initiative_id: Mapped[str] = mapped_column(reference("initiatives.id", "CASCADE"), primary_key=True)
    project_id: Mapped[str] = mapped_column(reference("projects.id", "CASCADE"), primary_key=True, index=True)
    created_at: Mapped[datetime]
