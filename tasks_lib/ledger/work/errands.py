"""
Errands: how they are called, and what can be done with them next.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger.schema.errands import DESCRIPTION_LENGTH, ErrandStatus

if TYPE_CHECKING:
    from tasks_lib.ledger.schema.errands import Errand

_WORDS = 40
"""Most characters of a description in a branch's name, which names a directory as well."""

OPEN = (ErrandStatus.ACTIVE, ErrandStatus.PENDING_REVIEW, ErrandStatus.CONFLICT)
"""The statuses of errands that are not finished."""

_NEXT = {
    ErrandStatus.ACTIVE: "inv errand.complete",
    ErrandStatus.PENDING_REVIEW: "inv errand.merge",
    ErrandStatus.CONFLICT: "inv errand.resolve",
}


def require_description(text: str) -> str:
    """
    Return the description of an errand, in one line.

    Raises:
        LedgerError: If it is empty or too long.
    """
    line = " ".join(text.split())
    if not 1 <= len(line) <= DESCRIPTION_LENGTH:
        raise LedgerError(
            f"the description is {len(line)} characters long" if line else "the description is empty",
            why=f"an errand's has 1 to {DESCRIPTION_LENGTH}; what needs more is a task",
            hint="inv task.add" if line else "",
        )
    return line


def branch_name(description: str, id: str) -> str:
    """Return the name of an errand's branch: readable, and nobody else's."""
    words = re.sub(r"[^a-z0-9]+", "-", description.lower())[:_WORDS].strip("-")
    return f"errand/{'-'.join(filter(None, (words, id[:8])))}"


def require(errand: Errand, *statuses: ErrandStatus, to: str) -> None:
    """
    Refuse what an errand's status forbids.

    Args:
        to: What is wished, such as `be merged`.

    Raises:
        ConflictError: Unless it has one of *statuses*.
    """
    if errand.status not in statuses:
        follows = _NEXT.get(errand.status)
        hint = f"{follows} {errand.id[:8]}" if follows else ""
        raise ConflictError(f"errand `{errand.id[:8]}` is {errand.status} and cannot {to}", hint=hint)
