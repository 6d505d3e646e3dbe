"""
Repository of the errands.
"""

from __future__ import annotations

from typing import Any

from tasks_lib.errors import ConflictError
from tasks_lib.ledger.repositories.base import Repository
from tasks_lib.ledger.schema.errands import Errand, ErrandStatus

_MOVES = {
    ErrandStatus.ACTIVE: {ErrandStatus.PENDING_REVIEW, ErrandStatus.ABANDONED},
    ErrandStatus.PENDING_REVIEW: {ErrandStatus.MERGED, ErrandStatus.CONFLICT, ErrandStatus.ABANDONED},
    ErrandStatus.CONFLICT: {ErrandStatus.PENDING_REVIEW, ErrandStatus.ABANDONED},
    ErrandStatus.MERGED: set(),
    ErrandStatus.ABANDONED: set(),
}
"""The statuses that an errand can move to, by its present one."""


class ErrandRepository(Repository[Errand]):
    """The errands, each with its agent's name."""

    row, noun = Errand, "errand"

    def create(self, **values: Any) -> Errand:
        """
        Add an errand; *values* includes the `id`, because the errand's branch is named after it.

        Raises:
            ConflictError: If the description is empty or too long.
        """
        if "id" not in values:
            raise TypeError("an errand's id is given")
        errand = super().create(**values)
        self.session.refresh(errand)
        return errand

    def find_all(self, **equals: Any) -> list[Errand]:
        """Return the errands whose fields equal *equals*, the newest first."""
        return super().find_all(**equals)

    def update(self, id: str, **values: Any) -> Errand:
        """
        Change an errand that is not finished.

        Raises:
            NotFoundError: If it does not exist.
            ConflictError: If it is finished, or cannot move to the new status from its present one.
        """
        errand = self.hold(id)
        status = self._checked(values).get("status", errand.status)
        if not _MOVES[errand.status] or (status is not errand.status and status not in _MOVES[errand.status]):
            wish = f"become {status}" if status is not errand.status else "be changed"
            raise ConflictError(f"errand `{id}` is {errand.status} and cannot {wish}")
        super().update(id, **values)
        return self.require(id)

    def _order(self) -> tuple[Any, ...]:
        # By id as well, so that errands of the same moment keep their order.
        return Errand.created_at.desc(), Errand.id.desc()
