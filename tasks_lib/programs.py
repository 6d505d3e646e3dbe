"""
Find programs that no checked-out branch has brought.

PATH may lead into a worktree: by a relative folder, direnv, or an activated environment. A branch could bring its own
`git` or `psql` there, and get a password.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path


def find_program(name: str, path: str | None = None) -> str | None:
    """Return the absolute path of the program *name* in the trusted folders of *path*, by default PATH; else None."""
    return shutil.which(name, path=trusted_path(path))


def trusted_path(path: str | None = None) -> str:
    """Return the folders of *path*, by default PATH, that are absolute and not in a linked worktree; never nothing."""
    return _trusted(os.environ.get("PATH", os.defpath) if path is None else path)


@cache
def _trusted(path: str) -> str:
    folders = (folder for folder in path.split(os.pathsep) if Path(folder).is_absolute())
    trusted = os.pathsep.join(folder for folder in folders if not _in_linked_worktree(os.path.realpath(folder)))
    return trusted or os.defpath  # an empty PATH is the current directory


def _in_linked_worktree(folder: str) -> bool:
    for parent in (Path(folder), *Path(folder).parents):
        mark = parent / ".git"
        with suppress(OSError):
            # A folder in the main worktree, a file in linked worktrees and submodules.
            if mark.is_file() and b"/worktrees/" in mark.read_bytes():
                return True
    return False
