"""
Sign ownership comments without a valid proof, after a person has looked at them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.errors import GoldentreeError
from tasks_lib.worktrees.reports.unproven import Unsigned

if TYPE_CHECKING:
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project


def sign_candidates(project: Project, found: list[Unsigned], narrator: Narrator) -> list[Unsigned]:
    """Sign the candidates among *found*, and return the outcome of each. A failure does not stop the others."""
    from tasks_lib.databases.ownership.managed import sign_claimed

    signed = []
    for unsigned in found:
        if unsigned.outcome != "candidate":
            signed.append(unsigned)
            continue
        try:
            with narrator.step(f"sign the comment of {unsigned.claim.found.name}"):
                sign_claimed(project.server, project.registry.signer, unsigned.claim)
            signed.append(Unsigned(unsigned.claim, "signed"))
        except GoldentreeError as error:
            signed.append(Unsigned(unsigned.claim, "kept", error.what))
    return signed
