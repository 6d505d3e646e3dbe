"""
A client for people: psql or pgcli, on the worktree's own database and no other.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from tasks_lib.errors import ServerError
from tasks_lib.worktrees.env.guard import require_own_database
from tasks_lib.worktrees.steps.toolchain import worktree_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tasks_lib.worktrees.project import Project


@dataclass(frozen=True)
class Client:
    """
    A client that is about to be opened.

    Attributes:
        command: It finds the server, the database and the password in its environment.
        url: Of the database, without the password.
    """

    command: list[str]
    database: str
    url: str
    environment: dict[str, str] = field(repr=False)

    def replace_process(self) -> NoReturn:
        """Become the client: terminal, Ctrl-C and exit status are its own."""
        sys.stdout.flush()
        # Python ignores it, and what is ignored stays so: `| head` would end in an error, in psql's own pager too.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execve(self.command[0], self.command, self.environment)  # noqa: S606 - no shell is wanted


def build_client(project: Project, program: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Client:
    """
    Return *program* with *arguments* on the database of the worktree that we stand in.

    Raises:
        ServerError: If there is no such program.
        GoldentreeError: If there is no such database, or DATABASE_URL does not name it.
    """
    record, here = project.require_record_here(), project.repository.here
    url = require_own_database(project, record, here, environ)
    environment = worktree_environment(project, record, here, url=url)
    found = shutil.which(program, path=environment["PATH"])
    if found is None:
        package = "postgresql-client" if program == "psql" else program
        raise ServerError(f"there is no `{program}` on this machine", hint=f"install {package}")
    return Client([found, *arguments], record.identity.database, url.masked, environment)
