"""
The worktree that a plan works on, with everything that its steps need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record, Registry


@dataclass(frozen=True)
class Target:
    """
    One worktree, existing or planned.

    Attributes:
        record: As it was when the plan was made; steps that need the leased port call `require_record`.
        path: Its directory.
        narrator: Prints warnings and progress.
    """

    project: Project
    record: Record
    path: Path
    narrator: Narrator

    @property
    def slug(self) -> str:
        """The key of the record."""
        return self.record.slug

    @property
    def registry(self) -> Registry:
        """The registry that holds the record."""
        return self.project.registry

    def find_record(self) -> Record | None:
        """
        Return the record as it is in the registry now, None if it was not written yet.

        Raises:
            RegistryError: If it cannot be read.
        """
        return self.registry.find(self.slug)

    def require_record(self) -> Record:
        """
        Return the record as it is in the registry now.

        Raises:
            RegistryError: If it does not exist or cannot be read.
        """
        return self.registry.require(self.slug)
