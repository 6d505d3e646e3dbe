"""
Set keys in an env file of a worktree, kept out of commits, and undo that.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.errors import EnvFileError
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.env_files import leads_out
from tasks_lib.worktrees.env.git_exclude import exclude_from_git, stop_excluding

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tasks_lib.worktrees.project import Project


@dataclass
class EnvFileEdit:
    """
    An edit of one env file.

    Attributes:
        path: The worktree.
        name: The file's path in it.
        before: The file's text before this run wrote it, None if it did not exist.
        begun: Whether this run began to write it.
        excluded: Whether this run made git ignore its changes.
    """

    project: Project
    path: Path
    name: str
    before: str | None = None
    begun: bool = False
    excluded: bool = False

    @property
    def file(self) -> Path:
        """The file."""
        return self.path / self.name

    @property
    def source(self) -> Path:
        """The file to start from: the worktree's own, else the main worktree's, but not that of style `layered`."""
        if self.file.exists() or (self.name == self.project.env_name and self.project.shared_env_name):
            return self.file
        return self.project.repository.main / self.name

    def check(self, values: Mapping[str, str]) -> None:
        """
        Check that *values* can be set, changing nothing.

        Raises:
            EnvFileError: If they cannot, or the file is outside of the worktree.
        """
        dotenv_file.require_own(self.file)
        if leads_out(self.path, self.name):
            raise EnvFileError(
                f"`{self.file}` is outside of its worktree",
                why=f"a link leads to {os.path.realpath(self.file.parent)}, and other worktrees may use that file",
                hint=f"remove `{self.name}` from `worktree.env_files`, or replace the link by a folder",
            )
        # Only whole texts can contain the bytes of another encoding.
        dotenv_file.edit(dotenv_file.read(self.source, strict=bool(values)), values, name=str(self.source))

    def write(self, values: Mapping[str, str]) -> None:
        """
        Set *values*; every other byte stays as it is in `source`.

        Raises:
            EnvFileError: If they cannot be set.
        """
        self.check(values)
        self._begin()
        dotenv_file.update_env_file(self.source, self.file, values)

    def replace(self, text: str) -> None:
        """
        Replace the file's whole text.

        Raises:
            EnvFileError: If it cannot be written.
        """
        self.check({})
        self._begin()
        dotenv_file.write(self.file, text, like=self.file if self.file.exists() else self.source)

    def undo(self) -> None:
        """Restore the file as it was before `write`."""
        if not self.begun:
            return
        if self.before is None:
            self.file.unlink(missing_ok=True)
        else:
            dotenv_file.write(self.file, self.before)
        if self.excluded:
            stop_excluding(self.path, self.name)

    def _begin(self) -> None:
        self.before = dotenv_file.read(self.file, strict=False) if self.file.exists() else None
        self.begun = True
        self.excluded = exclude_from_git(self.project, self.path, self.name)

    def is_done(self, values: Mapping[str, str]) -> bool:
        """Whether the file has *values*, and no other account can read a secret in it."""
        with suppress(OSError):
            found = dotenv_file.load(self.file)
            return all(found.get(key) == value for key, value in values.items()) and not dotenv_file.is_exposed(
                self.file
            )
        return False
