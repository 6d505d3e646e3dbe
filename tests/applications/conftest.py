"""
Applications as people have them: their main worktree uses `app_dev`, and golden is `app_latest`.

Nothing but the application's own files says where the databases are, and they know nothing of goldentree.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAIN, GOLDEN = "app_dev", "app_latest"
USER, PASSWORD = "ada", "p@ss:w/o%rd"


class Application:
    """
    The repository of an application, and its databases.

    Attributes:
        repository: With `inv` and git.
        host, port: Of its server.
        url: Of the database that the main worktree uses, as an application's developers write it.
    """

    def __init__(self, repository, server_url: str) -> None:
        at = conninfo_to_dict(server_url)
        self.repository = repository
        self.path: Path = repository.path
        self.host, self.port = at["host"], at["port"]
        self.url = f"postgresql://{USER}:{quote(PASSWORD, safe='')}@{self.host}:{self.port}/{MAIN}"

    def lay_out(self, files: dict[str, str], ignored: dict[str, str], branch: dict[str, str]) -> None:
        """Commit *files*, write the *ignored* ones, and make the branch `feat`, which adds the files *branch*."""
        self._write({".gitignore": "".join(f"/{name}\n" for name in ignored) + "__pycache__\n", **files})
        self.repository.commit("Application")
        self._write(ignored)
        self.repository.git("switch", "--quiet", "--create", "feat")
        self._write(branch)
        self.repository.commit("Feature")
        self.repository.git("switch", "--quiet", "main")

    def _write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def migrate_main(self, *command: str, folder: str = ".") -> None:
        """Run *command*, the application's migration tool, in the main worktree, and copy the result to golden."""
        self.run(*command, cwd=self.path / folder)
        self.repository.sql(f"CREATE DATABASE {GOLDEN} TEMPLATE {MAIN} OWNER {USER}")

    def run(self, *command: str, cwd: Path) -> str:
        """Run *command* of the application and return what it printed."""
        done = subprocess.run(
            command, cwd=cwd, env=os.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def contents(self) -> dict[str, dict[str, tuple[list[str], list[str]]]]:
        """Return the columns and rows of all tables of the main worktree's database and of golden."""
        return {name: self.tables(name) for name in (MAIN, GOLDEN)}

    def tables(self, database: str) -> dict[str, tuple[list[str], list[str]]]:
        """Return the columns and rows of each table of *database*."""
        query = (
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema !~ '^(pg_|information)'"
        )
        found = {}
        with psycopg.connect(self.repository.url, dbname=database) as connection:
            for table in connection.execute(query).fetchall():
                rows = connection.execute(sql.SQL("TABLE {}").format(sql.Identifier(*table)))
                found[".".join(table)] = ([column.name for column in rows.description], sorted(map(str, rows)))
        return found

    def check_journey(self, *program: str, folder: str = ".", table: str) -> None:
        """
        Create the worktree of `feat`, look at it, remove it and undo that.

        Golden and the main worktree's database stay as they are, down to the last row, and the application uses the
        clone.

        Args:
            program: Prints the name of the database that the application connects to.
            folder: Where it runs.
            table: What the branch's migration creates.
        """
        repository, there = self.repository, self.repository.worktree("feat")
        before = self.contents()
        assert f"public.{table}" not in before[GOLDEN]

        made = repository.json("worktree.create", "feat")

        assert self.contents() == before
        assert f"public.{table}" in self.tables(made["database"])
        assert self.run(*program, cwd=there / folder) == made["database"]
        assert self.run(*program, cwd=self.path / folder) == MAIN
        status = repository.json("worktree.status", "feat")
        assert status["problems"] == []
        assert made["database"] in {variable["database"] for variable in status["variables"]}
        assert repository.inv("doctor", cwd=there).returncode == 0
        env_files = {file: file.read_text() for file in there.rglob(".env*")}

        repository.json("worktree.remove", "feat", "--keep-branch")
        repository.json("worktree.undo", "feat")

        assert self.contents() == before
        assert f"public.{table}" in self.tables(made["database"])
        assert {file: file.read_text() for file in there.rglob(".env*")} == env_files


@pytest.fixture
def application(repository, server_url, monkeypatch) -> Iterator[Application]:
    """Give a repository that has only a `tasks.py`, and an empty database `app_dev`."""
    (repository.path / ".env").unlink()
    repository.prefix = "app"
    bin_directory = os.path.dirname(sys.executable)  # noqa: PTH120 - not where a link leads
    monkeypatch.setenv("PATH", bin_directory + os.pathsep + os.environ["PATH"])
    repository.sql(f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD}'")
    repository.sql(f"CREATE DATABASE {MAIN} OWNER {USER}")
    yield Application(repository, server_url)
    for name in [*repository.databases(), *repository.databases(parked=True)]:
        repository.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    with suppress(psycopg.Error):  # a snapshot that is removed in the background may still belong to it
        repository.sql(f"DROP ROLE {USER}")
