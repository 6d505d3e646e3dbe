"""
Review: comments on a phase's diff, and errands, small work on a branch of its own.
"""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, column_property, mapped_column

from tasks_lib.ledger.schema.agents import Agent
from tasks_lib.ledger.schema.base import Base, Timestamped, choice, reference

DESCRIPTION_LENGTH = 200
"""Most characters of an errand's description; what needs more is a task."""


class LineType(StrEnum):
    """On which side of a diff a line stands."""

    ADDED = "added"
    REMOVED = "removed"
    CONTEXT = "context"


class ReviewComment(Timestamped, Base, kw_only=True):
    """
    A comment on a line of a phase's diff.

    Attributes:
        line_number: From 1; of the old side for a removed line, else of the new one.
    """

    __tablename__ = "review_comments"
    __table_args__ = (sa.CheckConstraint("line_number >= 1", name="line_number"),)

    phase_id: Mapped[str] = mapped_column(reference("phases.id", "CASCADE"), index=True)
    file_path: Mapped[str]
    line_number: Mapped[int]
    line_type: Mapped[LineType] = mapped_column(choice(LineType))
    body: Mapped[str]
    author: Mapped[str] = mapped_column(default="you")
    resolved: Mapped[bool] = mapped_column(default=False)


class ErrandStatus(StrEnum):
    """How far an errand is; merged and abandoned are for good."""

    ACTIVE = "active"
    PENDING_REVIEW = "pending_review"
    CONFLICT = "conflict"
    MERGED = "merged"
    ABANDONED = "abandoned"


class Errand(Timestamped, Base, kw_only=True):
    """
    Small work on a branch and worktree of its own, which needs no plan.

    Attributes:
        agent_alias: The name of its agent, no column of its own.
    """

    __tablename__ = "errands"
    __table_args__ = (
        sa.CheckConstraint(f"length(description) BETWEEN 1 AND {DESCRIPTION_LENGTH}", name="description"),
    )

    description: Mapped[str]
    branch: Mapped[str]
    base_branch: Mapped[str] = mapped_column(default="main")
    agent_id: Mapped[str | None] = mapped_column(reference("agents.id", "SET NULL"), index=True, default=None)
    project_id: Mapped[str | None] = mapped_column(reference("projects.id", "CASCADE"), index=True, default=None)
    status: Mapped[ErrandStatus] = mapped_column(choice(ErrandStatus), default=ErrandStatus.ACTIVE)
    agent_alias: Mapped[str | None] = column_property(
        sa.select(Agent.name).where(Agent.id == sa.literal_column("errands.agent_id")).scalar_subquery()
    )
