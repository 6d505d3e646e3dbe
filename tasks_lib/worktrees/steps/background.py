"""
Tidying is done when the user has what they came for, by a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks_lib.worktrees.project import Project


def start_cleanup(project: Project) -> None:
    """Start `golden.tidy` and do not wait for it; its log lies beside the registry."""
    with (project.registry.directory / "tidy.log").open("wb") as log:
        subprocess.Popen(
            [sys.executable, "-m", "tasks_lib", "golden.tidy"],
            cwd=project.repository.main,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C is meant for the command that it was started by.
            start_new_session=True,
        )
