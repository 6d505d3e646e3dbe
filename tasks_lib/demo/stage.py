"""
The demo's stage: a server, a repository of a small application, and a branch to work on.

Everything is real: PostgreSQL, git, Alembic, sqlacodegen, and `inv` as a child process. Only Twilio is a stand-in, a
server on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tasks_lib.databases.compare import queries
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.embedded.cluster import Cluster, open_to_pass
from tasks_lib.databases.server.embedded.disposable import disposable_server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.demo import repository
from tasks_lib.demo.twilio import playing
from tasks_lib.errors import GoldentreeError
from tasks_lib.toolchains.presets.alembic import Alembic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import Connection

    from tasks_lib.databases.compare.contents import Contents
    from tasks_lib.output import Narrator
    from tasks_lib.toolchains.base import Drift

GOLDEN = "loquent_latest"

PROOF_TABLES = {"contacts": "contact", "agents": "ai_agent", "phones": "phone_number"}
"""The tables that are counted in source and clone, by label."""

SEAORM_HISTORY = "seaql_migrations"
"""SeaORM's migration history, from before the application moved to Alembic."""

_INV = "import sys; from invoke.main import program; sys.argv[0] = 'inv'; program.run()"
"""Invoke of this interpreter, which its hints call `inv`."""

_OUTSIDE = ("DATABASE_URL", "WORKTREE_", "CONDUCTOR_", "GIT_", "PG", "INVOKE_")
"""Variables that users and hooks export, and that must not reach the stage."""


@dataclass(frozen=True)
class Stage:
    """
    A stage that is set.

    Attributes:
        root: The directory of everything except a disposable server.
        main: The main worktree.
        environment: The environment of all children.
    """

    root: Path
    main: Path
    server: Server
    environment: Mapping[str, str]

    def show(self, *arguments: str) -> None:
        """
        Run `inv` with *arguments*; everything that it prints goes to our stdout immediately.

        Raises:
            GoldentreeError: If it fails.
        """
        self._inv(arguments, self.environment, stdout=None, stderr=subprocess.STDOUT)

    def ask(self, *arguments: str, **environment: str) -> Any:
        """
        Run `inv` with *arguments* and return the data of its JSON document.

        Raises:
            GoldentreeError: If it fails; contains its output.
        """
        pipe = subprocess.PIPE
        said = self._inv((*arguments, "--json"), {**self.environment, **environment}, stdout=pipe, stderr=pipe)
        return json.loads(said)["data"]

    @contextmanager
    def twilio(self) -> Iterator[None]:
        """Run the stand-in for Twilio, and write a `seed.env` that names it; remove both afterwards."""
        seed = self.main / "seed.env"
        with playing() as stand_in:
            seed.touch(0o600)
            account = f"TWILIO_WORKTREE_SUBACCOUNT_SID={stand_in.account.sid}\n"
            account += f"TWILIO_WORKTREE_SUBACCOUNT_TOKEN={stand_in.account.token}\n"
            seed.write_text(f"TWILIO_API_URL={stand_in.url}\n{account}")
            try:
                yield
            finally:
                seed.unlink()

    @contextmanager
    def sessions(self, count: int) -> Iterator[list[Connection[Any]]]:
        """Hold *count* connections to the golden template open, as a dev server does."""
        with ExitStack() as opened:
            yield [opened.enter_context(self.server.connect(GOLDEN)) for _ in range(count)]

    def facts(self, database: str) -> Contents:
        """Return the contents of *database*."""
        return queries.read_contents_of(self.server, database)

    def seaorm_migrations(self, database: str) -> list[str]:
        """Return the SeaORM migrations that *database* has, in order."""
        return sorted(queries.read_migrations(self.server, database, SEAORM_HISTORY, ("version",), str))

    def drift(self, worktree: Path, database: str) -> Drift:
        """Compare the Alembic migrations of the branch at *worktree* with those that *database* has."""
        alembic = Alembic(worktree)
        return alembic.drift(queries.read_migrations(self.server, database, *alembic.history))

    def _inv(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], *, stdout: int | None, stderr: int
    ) -> str:
        with subprocess.Popen(
            [sys.executable, "-c", _INV, *arguments],
            cwd=self.main,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
        ) as child:
            try:
                said, narrated = child.communicate()
            except KeyboardInterrupt:
                # Wait until it has rolled back, for which it needs the server; Popen's own wait ends after 0.25 s.
                child.send_signal(signal.SIGINT)
                child.communicate()
                raise
        if child.returncode:
            raise GoldentreeError(
                f"`inv {' '.join(arguments)}` exited with {child.returncode}", why=f"{narrated or ''}{said or ''}"
            )
        return said


def proof(found: Contents) -> dict[str, int]:
    """Return how many rows *found* has of each of `PROOF_TABLES`, by label."""
    return {label: found.tables[f"public.{table}"] for label, table in PROOF_TABLES.items()}


@contextmanager
def stage(narrator: Narrator, *, keep: bool = False) -> Iterator[Stage]:
    """
    Set the stage for the length of a `with` block.

    Args:
        keep: Keep everything afterwards, including the server.

    Raises:
        GoldentreeError: If it cannot be set; nothing is left.
    """
    environment = _environment()
    repository.require_tools(environment["PATH"])
    with ExitStack() as cleanup:
        root = Path(tempfile.mkdtemp(prefix="goldentree-demo-")).resolve()
        cleanup.callback(shutil.rmtree, root)
        with narrator.step("start a PostgreSQL server"):
            url = _kept_server(root, cleanup) if keep else cleanup.enter_context(disposable_server())
        server = Server(DatabaseUrl.parse(url))
        with narrator.step("make a repository"):
            # goldentree names the project after the directory, and golden after the project.
            main = root / "loquent"
            repository.make(main, server.url.with_database(GOLDEN), environment)
        cleanup.callback(_end_background_processes, main)
        if keep:
            cleanup.pop_all()
        yield Stage(root, main, server, environment)


def kept_home(root: Path) -> Path:
    """Return the GOLDENTREE_HOME of the server of a kept stage."""
    return root / "server"


def _kept_server(root: Path, cleanup: ExitStack) -> str:
    open_to_pass(root)
    cluster = Cluster(kept_home(root))
    cleanup.callback(cluster.destroy)
    return cluster.start()


def _end_background_processes(main: Path) -> None:
    """End what `inv` started in the background, which would otherwise write into the repository during its removal."""
    running = [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(main)]
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(running)


def _environment() -> dict[str, str]:
    """Return the environment for children, without the user's settings, with the tools installed beside us."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_OUTSIDE)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**inherited, **repository.GIT_ENVIRONMENT, "PATH": path}
