"""
The descriptions, branches and statuses of errands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger.schema.errands import DESCRIPTION_LENGTH, ErrandStatus

if TYPE_CHECKING:
    from tasks_lib.ledger.schema.errands import Errand

_WORDS = 40
"""How many characters of a description go into the branch's name, which is a directory's name as well."""

OPEN = (ErrandStatus.ACTIVE, ErrandStatus.PENDING_REVIEW, ErrandStatus.CONFLICT)
"""The statuses of unfinished errands."""

_NEXT = {
    ErrandStatus.ACTIVE: "inv errand.complete",
    ErrandStatus.PENDING_REVIEW: "inv errand.merge",
    ErrandStatus.CONFLICT: "inv errand.resolve",
}


def require_description(text: str) -> str:
    """
    Return *text* as one line, if it can be an errand's description.

    Raises:
        LedgerError: If it is empty or too long.
    """
    line = " ".join(text.split())
    if not 1 <= len(line) <= DESCRIPTION_LENGTH:
        raise LedgerError(
            f"the description is {len(line)} characters long" if line else "the description is empty",
            why=f"an errand has 1 to {DESCRIPTION_LENGTH} characters; longer work is a task",
            hint="inv task.add" if line else "",
        )
    return line


def branch_name(description: str, id: str) -> str:
    """Return a readable, unique name for an errand's branch."""
    words = re.sub(r"[^a-z0-9]+", "-", description.lower())[:_WORDS].strip("-")
    return f"errand/{'-'.join(filter(None, (words, id[:8])))}"


def require(errand: Errand, *statuses: ErrandStatus, to: str) -> None:
    """
    Refuse an action unless the errand has one of *statuses*.

    Args:
        to: The action, such as `be merged`.

    Raises:
        ConflictError: If it has another status.
    """
    if errand.status not in statuses:
        follows = _NEXT.get(errand.status)
        hint = f"{follows} {errand.id[:8]}" if follows else ""
        raise ConflictError(f"errand `{errand.id[:8]}` is {errand.status} and cannot {to}", hint=hint)
