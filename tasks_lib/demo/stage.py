"""
The stage: a server, a repository of a small application, and a branch to work on.

Everything on it is real: PostgreSQL, git, Alembic, sqlacodegen, and `inv` as a child process. Only Twilio is played,
by a server on this machine.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
"""What seed 000, section 07, counts in source and clone: its label, and the table behind it."""

LEDGER = "seaql_migrations"
"""SeaORM's table of applied migrations, from before the application went over to Alembic."""

_OUTSIDE = ("DATABASE_URL", "WORKTREE_", "CONDUCTOR_", "GIT_", "PG", "INVOKE_")
"""Variables that people and hooks export, and that must not reach the stage."""


@dataclass(frozen=True)
class Stage:
    """
    The stage as it stands.

    Attributes:
        root: The directory of it all; only a disposable server has another one.
        main: The main worktree.
        environment: That of all children.
    """

    root: Path
    main: Path
    server: Server
    environment: Mapping[str, str]

    def show(self, *arguments: str) -> None:
        """
        Run `inv` with *arguments*; everything that it prints goes to our stdout as it comes.

        Raises:
            GoldentreeError: If it fails.
        """
        self._inv(arguments, self.environment, stdout=None, stderr=subprocess.STDOUT)

    def ask(self, *arguments: str, **environment: str) -> Any:
        """
        Run `inv` with *arguments* and return the data of its JSON document.

        Raises:
            GoldentreeError: If it fails; with all that it said.
        """
        pipe = subprocess.PIPE
        said = self._inv((*arguments, "--json"), {**self.environment, **environment}, stdout=pipe, stderr=pipe)
        return json.loads(said)["data"]

    @contextmanager
    def twilio(self) -> Iterator[None]:
        """Play Twilio, with a `seed.env` that leads there; afterwards both are gone."""
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
        """Return what *database* holds."""
        return queries.read_contents_of(self.server, database)

    def ledger(self, database: str) -> list[str]:
        """Return the SeaORM migrations that *database* has, in order."""
        query = f"SELECT version FROM {LEDGER} ORDER BY version"  # noqa: S608 - our own constant
        return queries.read_migration_keys(self.server, database, LEDGER, query)

    def drift(self, worktree: Path, database: str) -> Drift:
        """Compare the Alembic migrations of the branch at *worktree* with those that *database* has."""
        alembic = Alembic(worktree)
        return alembic.drift(
            queries.read_migration_keys(self.server, database, alembic.history.table, alembic.history.query)
        )

    def _inv(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], *, stdout: int | None, stderr: int
    ) -> str:
        with subprocess.Popen(
            [sys.executable, "-m", "invoke", *arguments],
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
                # It rolls back, and needs the server for that; leaving the block alone would wait 0.25 s.
                child.send_signal(signal.SIGINT)
                child.communicate()
                raise
        if child.returncode:
            raise GoldentreeError(
                f"`inv {' '.join(arguments)}` exited with {child.returncode}", why=f"{narrated or ''}{said or ''}"
            )
        return said


def proof(found: Contents) -> dict[str, int]:
    """Return the rows that seed 000, section 07, counts: its label, and how many *found* has."""
    return {label: found.tables[f"public.{table}"] for label, table in PROOF_TABLES.items()}


@contextmanager
def stage(narrator: Narrator, *, keep: bool = False) -> Iterator[Stage]:
    """
    Set the stage for the length of a `with` block.

    Args:
        keep: Leave everything in the end, server included.

    Raises:
        GoldentreeError: If it cannot be set; nothing is left then.
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
            # The project is named after the directory, and golden after the project.
            main = root / "loquent"
            repository.make(main, server.url.with_database(GOLDEN), environment)
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


def _environment() -> dict[str, str]:
    """Return the environment for children: nothing from outside, and the tools that are installed beside us."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_OUTSIDE)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**inherited, **repository.GIT_ENVIRONMENT, "PATH": path}
