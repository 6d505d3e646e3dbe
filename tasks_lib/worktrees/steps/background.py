"""
Run cleanup in a detached background process, so that the user does not wait for it.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks_lib.worktrees.project import Project


def start_cleanup(project: Project) -> None:
    """
    Start `golden.tidy` without waiting for it. Its log is next to the registry.

    If the machine refuses, the next command starts it: what the user asked for is done already.
    """
    with suppress(OSError), (project.registry.directory / "tidy.log").open("wb") as log:
        subprocess.Popen(
            [sys.executable, "-m", "tasks_lib", "golden.tidy"],
            cwd=project.repository.main,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C must only reach the command that started it.
            start_new_session=True,
        )
