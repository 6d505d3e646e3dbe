"""
Find databases whose ownership comments name this repository without proving it, and which of them may be signed.

Earlier versions wrote comments without a proof, and a lost key makes all proofs invalid. What such a comment says, any
role could have written. So a person decides, and only about databases with the right owner that the registry knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.worktrees.removal import removal_record

if TYPE_CHECKING:
    from collections.abc import Collection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.managed import Claimed
    from tasks_lib.worktrees.project import Project


@dataclass(frozen=True)
class Unsigned:
    """
    A database whose comment names this repository without proving it, and what becomes of the comment.

    Attributes:
        outcome: `candidate`, `signed` or `kept`.
        why: Why it is kept as it is.
    """

    claim: Claimed
    outcome: str
    why: str = ""


def find_unproven(project: Project) -> list[Unsigned]:
    """Return the databases that only claim to be this repository's, by name. Changes nothing."""
    from tasks_lib.databases.ownership.managed import list_claimed

    with project.server.connect() as connection:
        _, claimed = list_claimed(connection, project.registry.signer)
    expected = _Expected(project)
    found = [(claim, expected.find_objection(claim)) for claim in claimed]
    return [Unsigned(claim, "kept" if why else "candidate", why) for claim, why in found]


class _Expected:
    """What the registry and the removal records know of this repository's databases."""

    def __init__(self, project: Project) -> None:
        records, companions = project.registry.records(), project.settings.companions
        removals = removal_record.list_removals(project)
        self.user = project.server.url.parameter("user")
        self.slugs = {record.slug for record in records}
        self.removals = {(removal.slug, removal.removed_at) for removal in removals}
        self.goldens: Collection[str] = {
            project.settings.template,
            *(companion.template for companion in companions if companion.template),
            *(record.golden for record in records),
            *(removal.worktree.golden for removal in removals if removal.worktree),
        }

    def find_objection(self, claim: Claimed) -> str:
        """Return why the comment must not be signed, empty if it may be."""
        found, comment = claim.found, claim.comment
        if not found.signable:
            return found.flaw
        if found.owner != self.user and comment.golden not in self.goldens:
            return f"its owner is role `{found.owner}`, and `{comment.golden}` is not a golden template in use here"
        if comment.role == "clone":
            return "" if comment.slug in self.slugs else f"no worktree has the slug `{comment.slug}`"
        if comment.role == "parked":
            return self._find_objection_to_parked(comment)
        named = found.name.startswith(f"goldentree_{'tmp' if comment.role == 'temporary' else comment.role}_")
        return "" if named else f"a {comment.role} has another kind of name"

    def _find_objection_to_parked(self, comment: OwnershipComment) -> str:
        if not comment.slug:
            return "" if comment.database in self.goldens else f"`{comment.database}` is not a golden template here"
        # Earlier versions wrote only one instant.
        if (comment.slug, comment.removed_at or comment.parked_at) in self.removals:
            return ""
        return f"no removal of worktree `{comment.slug}` at {comment.parked_at[:19]} is recorded"
