"""
What every `plan_<command>()` returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from tasks_lib.output import Narrator
    from tasks_lib.plan import Plan, Ran

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Planned(Generic[Subject]):
    """
    A command that is ready to preview or to run.

    Attributes:
        subject: What the command works on: a worktree's record, a removal, a pull. Its steps add their results to it.
        plans: Run in this order. A failure undoes the plan that failed, not the ones that completed before it.
    """

    subject: Subject
    plans: tuple[Plan, ...]

    def preview(self) -> list[str]:
        """Return what a run would do, one line per step, changing nothing."""
        return [line for plan in self.plans for line in plan.preview()]

    def run(self, narrator: Narrator) -> list[Ran]:
        """
        Run every step that is not done yet.

        Returns what ran, in order of completion.

        Raises:
            Interrupted, GoldentreeError: As `Plan.run`.
        """
        return [ran for plan in self.plans for ran in plan.run(narrator)]
