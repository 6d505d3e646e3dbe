"""
The tests that every preset inherits; a preset's own test module describes a project and adds what is special.

`ToolchainContract` needs no tool. `RealToolContract` runs the tool against a real database.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tasks_lib.databases.compare import queries
from tasks_lib.databases.server.binaries import find_server_programs
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import ToolchainError
from tasks_lib.toolchains.base import Drift, Toolchain
from tasks_lib.toolchains.catalog import find_toolchain, list_toolchains
from tasks_lib.toolchains.environment import child_environment
from tasks_lib.toolchains.run import run
from tests.npm import NODE

if TYPE_CHECKING:
    from tasks_lib.toolchains.base import Command

SQL = (
    "CREATE TABLE contact (id serial PRIMARY KEY, name text NOT NULL)",
    "CREATE TABLE message (id serial PRIMARY KEY, contact_id integer NOT NULL REFERENCES contact)",
    "CREATE TABLE task (id serial PRIMARY KEY, message_id integer NOT NULL REFERENCES message)",
)
"""The SQL of the three migrations of every project, in order."""


def environment_for(url: str, worktree: Path) -> dict[str, str]:
    """Return the environment that `db.migrate` gives to its command, with the test tools on PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), str(NODE / "bin"), os.environ["PATH"]])
    return child_environment(
        {**os.environ, "PATH": path},
        url=url,
        libpq=DatabaseUrl.parse(url).environment(),
        clients=find_server_programs().directory,
        worktree=worktree,
        main=worktree,
    )


def execute(command: Command | None, url: str, worktree: Path) -> list[str]:
    """Run *command* as a task would and return the lines it relayed."""
    assert command is not None
    lines: list[str] = []
    run(command, env=environment_for(url, worktree), on_line=lines.append, hint="inv db.migrate")
    return lines


def recorded(toolchain: Toolchain, url: str) -> dict[str, str | None]:
    """Return the keys and checksums in the migration history; none if the table does not exist."""
    found = DatabaseUrl.parse(url)
    return queries.read_migrations(Server(found), found.database, *toolchain.history)


def write(folder: Path, files: dict[str, str]) -> None:
    """Write *files*, by path below *folder*."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class Project:
    """
    A small repository with three migrations.

    Attributes:
        adapter: The class under test.
        keys: The key of each migration in the migration history, in order.
        files: Every file except the migrations.
        refusal: A part of what the tool prints if the password is wrong.
        other_work: What migrate may do besides, which the files cannot exclude.
    """

    adapter: ClassVar[type[Toolchain]]
    keys: ClassVar[tuple[str, str, str]]
    files: ClassVar[dict[str, str]]
    refusal: ClassVar[str] = "password"
    other_work: ClassVar[str] = ""

    def migration(self, number: int) -> tuple[str, str]:
        """Return path and text of migration *number*, which runs `SQL[number]`."""
        raise NotImplementedError

    def lay_out(self, folder: Path) -> None:
        write(folder, {**self.files, **dict(self.migration(number) for number in range(3))})

    def without_the_last(self, worktree: Path) -> None:
        """Delete the newest migration."""
        (worktree / self.migration(2)[0]).unlink()

    @pytest.fixture
    def worktree(self, tmp_path: Path) -> Path:
        worktree = tmp_path / "worktree"
        worktree.mkdir()
        self.lay_out(worktree)
        return worktree

    @pytest.fixture
    def toolchain(self, worktree: Path) -> Toolchain:
        return self.adapter(worktree)


class ToolchainContract(Project):
    """Detection, and the comparison with a migration history; reads only files."""

    def test_is_the_only_tool_detected(self, worktree: Path, toolchain: Toolchain) -> None:
        """No other tool is detected in a project of this tool."""
        assert find_toolchain(worktree) == toolchain

    def test_is_detected_in_a_conventional_folder(self, tmp_path: Path) -> None:
        """The tool may live in `backend/`."""
        self.lay_out(tmp_path / "backend")
        assert find_toolchain(tmp_path) == self.adapter(tmp_path / "backend")

    def test_is_detected_in_a_monorepo(self, tmp_path: Path) -> None:
        """Where the usual folders have no tool, it is found by the files that git tracks, but not in examples."""
        for folder in ("packages/db", "packages/example/app"):
            self.lay_out(tmp_path / folder)
        for command in (["init", "--quiet"], ["add", "--all"]):
            subprocess.run(["git", *command], cwd=tmp_path, check=True)
        assert list_toolchains(tmp_path) == [self.adapter(tmp_path / "packages/db")]

    def test_is_not_detected_elsewhere(self, tmp_path: Path) -> None:
        """The project in `examples/` is not the repository's own."""
        self.lay_out(tmp_path / "examples")
        assert list_toolchains(tmp_path) == []

    def test_lists_migrations_in_order(self, toolchain: Toolchain) -> None:
        """Migrations are listed by key, oldest first."""
        assert list(toolchain.migrations()) == list(self.keys)

    def test_everything_is_pending_in_an_empty_history(self, toolchain: Toolchain) -> None:
        """A database that was never migrated lacks everything."""
        names = tuple(toolchain.migrations().values())
        assert toolchain.drift([]) == Drift(applied=(), pending=names, missing=())

    def test_nothing_is_pending_in_a_full_history(self, toolchain: Toolchain) -> None:
        """A migrated database and its branch agree."""
        names = tuple(toolchain.migrations().values())
        assert toolchain.drift(self.keys) == Drift(applied=names, pending=(), missing=())

    def test_migrations_that_the_branch_lacks_are_missing(self, worktree: Path, toolchain: Toolchain) -> None:
        """A recorded migration without a file in the branch is missing."""
        self.without_the_last(worktree)
        assert toolchain.drift(self.keys).missing == (self.keys[2],)

    def test_commands_run_where_the_tool_is_configured(self, toolchain: Toolchain) -> None:
        """The migrate command runs in the tool's folder and names the command that installs it."""
        command = toolchain.migrate()
        assert command.cwd == toolchain.folder
        assert command.install


class RealToolContract(Project):
    """The tool itself, against a real database."""

    def test_migrates_an_empty_database(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """Everything pending is applied and recorded, and a second run does nothing."""
        names = tuple(toolchain.migrations().values())
        for _ in range(2):
            execute(toolchain.migrate(), database, worktree)
            assert toolchain.drift(recorded(toolchain, database)) == Drift(applied=names, pending=(), missing=())
        with psycopg.connect(database) as connection:
            connection.execute("SELECT FROM contact, message, task")

    def test_applies_what_a_clone_lacks(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """On a clone of a migrated golden template, only the branch's new migration is applied."""
        self.without_the_last(worktree)
        execute(toolchain.migrate(), database, worktree)
        self.lay_out(worktree)
        names = tuple(toolchain.migrations().values())
        assert toolchain.drift(recorded(toolchain, database)) == Drift(names[:2], names[2:], ())
        execute(toolchain.migrate(), database, worktree)
        assert toolchain.drift(recorded(toolchain, database)) == Drift(names, (), ())

    def test_tells_when_migrate_would_do_nothing(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """Migrate may be skipped exactly when the database has every migration as it is on the branch."""
        path = environment_for(database, worktree)["PATH"]
        assert toolchain.find_reason_to_migrate(recorded(toolchain, database), path) == "3 pending"
        execute(toolchain.migrate(), database, worktree)
        assert toolchain.find_reason_to_migrate(recorded(toolchain, database), path) == self.other_work
        if toolchain.read_checksums():
            name, text = self.migration(1)
            write(worktree, {name: f"{text}-- edited\n"})
            edited = f"edited: {list(toolchain.migrations().values())[1]}"
            assert toolchain.find_reason_to_migrate(recorded(toolchain, database), path) == edited
        self.without_the_last(worktree)
        assert "the branch lacks" in toolchain.find_reason_to_migrate(recorded(toolchain, database), path)

    def test_sees_what_the_branch_lacks(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """A database that is ahead of the branch has a migration that the branch lacks."""
        execute(toolchain.migrate(), database, worktree)
        self.without_the_last(worktree)
        assert toolchain.drift(recorded(toolchain, database)).missing == (self.keys[2],)

    def test_a_failure_shows_no_password(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """The error of a failed login has the tool's last lines, without the password."""
        at = conninfo_to_dict(database)
        wrong = f"postgresql://{at['user']}:s3cr%2Fet@{at['host']}:{at['port']}/{at['dbname']}?sslmode=disable"
        lines: list[str] = []
        with pytest.raises(ToolchainError) as caught:
            run(toolchain.migrate(), env=environment_for(wrong, worktree), on_line=lines.append, hint="inv db.migrate")
        assert caught.value.hint == "inv db.migrate"
        assert self.refusal in caught.value.why
        assert all("s3cr" not in text for text in (*lines, str(caught.value)))
