"""
Open psql or pgcli on the worktree's own database.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from tasks_lib.errors import ServerError
from tasks_lib.programs import find_program, trusted_path
from tasks_lib.worktrees.env.guard import require_own_database
from tasks_lib.worktrees.steps.toolchain import worktree_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tasks_lib.worktrees.project import Project


@dataclass(frozen=True)
class Client:
    """
    A client program, ready to start.

    Attributes:
        command: It finds the server, the database and the password in its environment.
        url: Of the database, without the password.
    """

    command: list[str]
    database: str
    url: str
    environment: dict[str, str] = field(repr=False)

    def replace_process(self) -> NoReturn:
        """Replace this process by the client, which then owns the terminal, Ctrl-C and the exit status."""
        sys.stdout.flush()
        # Python ignores it, and what is ignored stays so: `| head` would end in an error, in psql's own pager too.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execve(self.command[0], self.command, self.environment)  # noqa: S606 - no shell is wanted


def build_client(project: Project, program: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Client:
    """
    Return *program* with *arguments* on the database of the current worktree.

    Raises:
        ServerError: If the program is not installed.
        GoldentreeError: If the database does not exist, or DATABASE_URL does not name it.
    """
    record, here = project.require_record_here(), project.repository.current
    url = require_own_database(project, record, here, environ)
    environment = worktree_environment(project, record, here, url=url)
    # The client gets the password, and so does the pager that it looks for.
    environment["PATH"] = trusted_path(environment["PATH"])
    found = find_program(program, environment["PATH"])
    if found is None:
        package = "postgresql-client" if program == "psql" else program
        raise ServerError(f"`{program}` is not installed", hint=f"install {package}")
    return Client([found, *arguments], record.identity.database, url.masked, environment)
