"""
Repository of the comments on diffs.
"""

from __future__ import annotations

from typing import Any

from tasks_lib.ledger.repositories.base import Repository
from tasks_lib.ledger.schema.review import ReviewComment


class ReviewCommentRepository(Repository[ReviewComment]):
    """Comments on phases' diffs."""

    row, noun, listing = ReviewComment, "review comment", "inv review.list PHASE"

    def find_by_phase_id(self, phase_id: str) -> list[ReviewComment]:
        """Return the comments on a phase's diff, as they stand in it."""
        return self.find_all(phase_id=phase_id)

    def resolve(self, id: str) -> ReviewComment:
        """Mark a comment as resolved, and return it; a second time changes nothing."""
        return self.update(id, resolved=True)

    def unresolve(self, id: str) -> ReviewComment:
        """Mark a comment as open again, and return it."""
        return self.update(id, resolved=False)

    def _order(self) -> tuple[Any, ...]:
        return ReviewComment.file_path, ReviewComment.line_number, ReviewComment.created_at, ReviewComment.id
