"""
Review: comments on a phase's diff.
"""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tasks_lib.ledger.schema.base import Base, Timestamped, choice, reference


class LineType(StrEnum):
    """The side of a diff that a line is on."""

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
