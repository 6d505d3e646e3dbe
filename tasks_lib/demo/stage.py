"""
The stage: a server with a golden template, and a repository of a small application with a branch to work on.

Everything on it is real: PostgreSQL, git, Alembic, sqlacodegen, and `inv` as a child process. The application's files
lie in `application/`: those of `main`, and those that the branch `feat-x` adds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.disposable import disposable
from tasks_lib.databases.embedded import Cluster, open_to_pass
from tasks_lib.databases.server import Server
from tasks_lib.databases.url import DatabaseUrl
from tasks_lib.errors import GoldentreeError, ToolchainError
from tasks_lib.loquent import golden

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import Connection

    from tasks_lib.output import Narrator

BRANCH = "feat-x"
GOLDEN = "loquent_latest"

_PRIVATE = ("DATABASE_URL", "WORKTREE_", "CONDUCTOR_", "PG", "GIT_", "INVOKE_", "ALEMBIC_")
"""What people and hooks export, and what must not reach the stage."""

_AUTHOR = {"NAME": "Ada", "EMAIL": "ada@example.org"}


@dataclass(frozen=True)
class Stage:
    """
    The stage as it stands.

    Attributes:
        root: The directory of everything that is not the server's.
        main: The main worktree.
        home: The directory of the kept server, None where the server is disposable.
    """

    root: Path
    main: Path
    server: Server
    home: Path | None
    environment: Mapping[str, str]

    def show(self, *arguments: str, cwd: Path | None = None) -> None:
        """
        Run `inv` with *arguments*; all that it prints goes to our stdout as it comes.

        Raises:
            GoldentreeError: If it fails.
        """
        sys.stdout.flush()
        self._run(arguments, cwd, self.environment, stderr=subprocess.STDOUT)

    def ask(self, *arguments: str, cwd: Path | None = None, **environment: str) -> Any:
        """
        Run `inv` with *arguments* and return the data of its JSON answer.

        Raises:
            GoldentreeError: If it fails.
        """
        ran = self._run([*arguments, "--json"], cwd, {**self.environment, **environment}, stdout=subprocess.PIPE)
        return json.loads(ran.stdout)["data"]

    @contextmanager
    def sessions(self, count: int) -> Iterator[list[Connection[Any]]]:
        """Hold *count* connections to the golden template open, as a dev server does."""
        with ExitStack() as opened:
            yield [opened.enter_context(self.server.connect(GOLDEN)) for _ in range(count)]

    def without_password(self, text: str) -> str:
        """Return *text* with the server's password blotted out."""
        return text.replace(self.server.url.parameters["password"], "***")

    def _run(
        self, arguments: tuple[str, ...] | list[str], cwd: Path | None, environment: Mapping[str, str], **streams: int
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "invoke", *arguments]
        ran = subprocess.run(
            command, cwd=cwd or self.main, env=environment, stdin=subprocess.DEVNULL, text=True, check=False, **streams
        )
        if ran.returncode:
            raise GoldentreeError(f"`inv {' '.join(arguments)}` exited with {ran.returncode}", why=ran.stdout or "")
        return ran


@contextmanager
def stage(narrator: Narrator, *, keep: bool = False) -> Iterator[Stage]:
    """
    Set the stage for the length of a `with` block.

    Args:
        keep: Leave all of it, server included, as it is in the end.

    Raises:
        GoldentreeError: If it cannot be set; nothing is left then.
    """
    environment = _environment()
    _require_tools(environment["PATH"])
    with ExitStack() as cleanup, _terminations_interrupt():
        root = Path(tempfile.mkdtemp(prefix="goldentree-demo-")).resolve()
        cleanup.callback(shutil.rmtree, root, ignore_errors=True)
        home = root / "server" if keep else None
        with narrator.step("start a PostgreSQL server"):
            if home:
                open_to_pass(root)
                cluster = Cluster(home)
                cleanup.callback(cluster.destroy)
                server = Server(DatabaseUrl.parse(cluster.start()))
            else:
                server = Server(DatabaseUrl.parse(cleanup.enter_context(disposable())))
        set_stage = Stage(root, root / "loquent", server, home, environment)
        with narrator.step(f"build the golden template {GOLDEN}"):
            golden.create(server.url.text, GOLDEN)
        with narrator.step("make a repository, and migrate golden to the head of main"):
            _make_repository(set_stage)
        if keep:
            cleanup.pop_all()
        yield set_stage


def _environment() -> dict[str, str]:
    """Return the environment of all children: nothing private, and the tools that are installed beside us."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_PRIVATE)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # Hooks, signatures and templates that somebody has configured for their own repositories.
    git = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    author = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _AUTHOR.items()}
    return {**inherited, **git, **author, "PATH": path}


def _require_tools(path: str) -> None:
    missing = [tool for tool in ("git", "alembic", "sqlacodegen") if not shutil.which(tool, path=path)]
    if missing:
        raise ToolchainError(
            f"{' and '.join(f'`{tool}`' for tool in missing)} not installed",
            why="the application of the demo is migrated by Alembic, and sqlacodegen writes its models",
            hint="install git" if "git" in missing else "python3 -m pip install alembic sqlacodegen",
        )


def _make_repository(new: Stage) -> None:
    database_url = new.server.url.with_database(GOLDEN)
    _git(new, "init", "--quiet", "--initial-branch=main", str(new.main), cwd=new.root)
    _add(new, "main", "Start")
    env = new.main / ".env"
    env.touch(mode=0o600)
    env.write_text((new.main / "env").read_text().format(database_url=database_url.text))
    _alembic_upgrade(new, database_url)
    _git(new, "switch", "--quiet", "--create", BRANCH)
    _add(new, BRANCH, "Call contacts back")
    _git(new, "switch", "--quiet", "main")
