"""
Repositories of the review: comments on diffs, errands.
"""

from __future__ import annotations

from typing import Any

from tasks_lib.errors import ConflictError
from tasks_lib.ledger.repositories.base import Repository
from tasks_lib.ledger.schema.review import Errand, ErrandStatus, ReviewComment

_MOVES = {
    ErrandStatus.ACTIVE: {ErrandStatus.PENDING_REVIEW, ErrandStatus.ABANDONED},
    ErrandStatus.PENDING_REVIEW: {ErrandStatus.MERGED, ErrandStatus.CONFLICT, ErrandStatus.ABANDONED},
    ErrandStatus.CONFLICT: {ErrandStatus.PENDING_REVIEW, ErrandStatus.ABANDONED},
    ErrandStatus.MERGED: set(),
    ErrandStatus.ABANDONED: set(),
}
"""From which status an errand can come to which."""


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


class ErrandRepository(Repository[Errand]):
    """Errands; each knows its agent's name."""

    row, noun = Errand, "errand"

    def create(self, **values: Any) -> Errand:
        """
        Make an errand; its branch bears the `id`, so the caller has made it.

        Raises:
            ConflictError: If the description is empty or too long.
        """
        if "id" not in values:
            raise TypeError("an errand's id is given")
        errand = super().create(**values)
        self.session.refresh(errand)
        return errand

    def find_all(self, **equals: Any) -> list[Errand]:
        """Return the errands whose fields equal *equals*, `project_id` and `status` say; the newest first."""
        return super().find_all(**equals)

    def update(self, id: str, **values: Any) -> Errand:
        """
        Change an errand that is not finished.

        Raises:
            ConflictError: If it is, or cannot come to that status from where it is.
        """
        errand = self.hold(id)
        status = self._checked(values).get("status", errand.status)
        if not _MOVES[errand.status] or (status is not errand.status and status not in _MOVES[errand.status]):
            wish = f"become {status}" if status is not errand.status else "be changed"
            raise ConflictError(f"errand `{id}` is {errand.status} and cannot {wish}")
        super().update(id, **values)
        return self.require(id)

    def _order(self) -> tuple[Any, ...]:
        # By id as well: what was made in the same moment would stand in chance order.
        return Errand.created_at.desc(), Errand.id.desc()
