"""
Errands: small work on a branch and worktree of its own.
"""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, column_property, mapped_column

from tasks_lib.ledger.schema.agents import Agent
from tasks_lib.ledger.schema.base import Base, Timestamped, choice, reference

DESCRIPTION_LENGTH = 200
"""Most characters of an errand's description; longer work is a task."""


class ErrandStatus(StrEnum):
    """The status of an errand; merged and abandoned are final."""

    ACTIVE = "active"
    PENDING_REVIEW = "pending_review"
    CONFLICT = "conflict"
    MERGED = "merged"
    ABANDONED = "abandoned"


class Errand(Timestamped, Base, kw_only=True):
    """
    A small change on its own branch and worktree, outside of any plan.

    Attributes:
        agent_alias: The name of its agent, read from the agents table.
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
