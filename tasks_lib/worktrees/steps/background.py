"""
Run cleanup in a detached background process, so that the user does not wait for it.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from tasks_lib.files import open_private

if TYPE_CHECKING:
    from tasks_lib.worktrees.project import Project


def start_cleanup(project: Project) -> None:
    """
    Start `golden.tidy` without waiting for it. Its log is next to the registry.

    If the machine refuses, the next command starts it: what the user asked for is done already.
    """
    log_file = project.registry.directory / "tidy.log"
    with suppress(OSError), open(log_file, "wb", opener=open_private) as log:
        subprocess.Popen(
            # -P: not the `tasks_lib` of the directory in which it runs.
            [sys.executable, "-P", "-m", "tasks_lib", "golden.tidy"],
            cwd=project.repository.main,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C must only reach the command that started it.
            start_new_session=True,
        )
