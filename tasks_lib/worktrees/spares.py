"""
Spares are made when the user has what they came for, by a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks_lib.worktrees.project import Project


def refill(project: Project) -> None:
    """Start making the spares that WORKTREE_SPARES asks for, and do not wait; its log lies beside the registry."""
    if not project.settings.spares:
        return
    with (project.registry.directory / "spares.log").open("wb") as log:
        subprocess.Popen(
            [sys.executable, "-m", "tasks_lib", "golden.spares"],
            cwd=project.repository.main,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C is meant for the command that it was started by.
            start_new_session=True,
        )
