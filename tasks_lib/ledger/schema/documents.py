"""
Pages of initiatives, proposals of agents, and sets of changes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tasks_lib.ledger.schema.base import Base, Timestamped, choice, reference


class Page(Timestamped, Base, kw_only=True):
    """A page of an initiative; the root page has no parent."""

    __tablename__ = "pages"

    initiative_id: Mapped[str] = mapped_column(reference("initiatives.id", "CASCADE"), index=True)
    parent_page_id: Mapped[str | None] = mapped_column(reference("pages.id", "CASCADE"), index=True, default=None)
    title: Mapped[str]
    content: Mapped[str | None] = mapped_column(default=None)
    sort_order: Mapped[int] = mapped_column(default=0)


# Concurrent creators of the root page get the same one.
sa.Index(
    "uq_pages_root",
    Page.__table__.c.initiative_id,
    unique=True,
    sqlite_where=sa.text("parent_page_id IS NULL"),
    postgresql_where=sa.text("parent_page_id IS NULL"),
)


class ProposalTarget(StrEnum):
    """The kind of row that a proposal changes or creates."""

    PAGE = "page"
    PHASE = "phase"
    TASK = "task"


class ProposalStatus(StrEnum):
    """The status of a proposal."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"


class Proposal(Timestamped, Base, kw_only=True):
    """
    A change that an agent proposes.

    Attributes:
        target_id: The page, phase or task to change; None to create one.
        metadata_: More fields of the target; the column is called `metadata`.
    """

    __tablename__ = "proposals"

    agent_id: Mapped[str] = mapped_column(reference("agents.id", "CASCADE"), index=True)
    initiative_id: Mapped[str] = mapped_column(reference("initiatives.id", "CASCADE"), index=True)
    target_type: Mapped[ProposalTarget] = mapped_column(choice(ProposalTarget))
    target_id: Mapped[str | None] = mapped_column(default=None)
    title: Mapped[str]
    summary: Mapped[str | None] = mapped_column(default=None)
    content: Mapped[str | None] = mapped_column(default=None)
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata", default=None)
    status: Mapped[ProposalStatus] = mapped_column(choice(ProposalStatus), default=ProposalStatus.PENDING)
    sort_order: Mapped[int] = mapped_column(default=0)


class ChangeSetMode(StrEnum):
    """The kind of work in which a change was made."""

    PLAN = "plan"
    DETAIL = "detail"
    REFINE = "refine"
    CHAT = "chat"


class ChangeSet(Timestamped, Base, kw_only=True):
    """
    Changes that an agent made together.

    No task writes this table; chat messages of Python programs can refer to it, and their JSON documents show the id.
    """

    __tablename__ = "change_sets"

    agent_id: Mapped[str | None] = mapped_column(reference("agents.id", "SET NULL"), default=None)
    agent_name: Mapped[str]
    initiative_id: Mapped[str] = mapped_column(reference("initiatives.id", "CASCADE"), index=True)
    mode: Mapped[ChangeSetMode] = mapped_column(choice(ChangeSetMode))
    summary: Mapped[str | None] = mapped_column(default=None)
