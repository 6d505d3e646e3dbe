"""
Other ways to copy a database: a shell pipeline of pg_dump and psql, `createdb -T`, and tools on PyPI.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.timing import Way

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.servers import Target

SEED = "seed: createdb; pg_dump | psql"
FLOOR = "createdb -T of an idle golden"

_PIPELINE = (
    'createdb "$1" && pg_dump --no-owner --no-privileges "$2" | psql -q --set ON_ERROR_STOP=1 -d "$1" >/dev/null'
)
_AUTHOR = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org")

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Tool:
    """A tool from PyPI: its program, or why there is none."""

    package: str
    program: Path
    obstacle: str = ""

    def require(self) -> Path:
        """
        Return its program.

        Raises:
            RuntimeError: If there is none.
        """
        if self.obstacle:
            raise RuntimeError(self.obstacle)
        return self.program


def install(scratch: Path) -> list[Tool]:
    """Install DSLR and db-git, each in a virtual environment of its own below *scratch*."""
    return [_install(scratch, "dslr", "psycopg[binary]"), _install(scratch, "db-git")]


def ways(target: Target, golden: str, idle: str, tools: Sequence[Tool], scratch: Path) -> dict[str, Way]:
    """
    Return the ways of others to copy *golden*.

    Args:
        target: The server, whose own client programs are used.
        golden: The database to copy, with or without sessions.
        idle: The same without sessions, for the floor.
        tools: What `install` returned.
        scratch: For their files.
    """
    found = {
        SEED: Way(lambda: _run(["sh", "-c", _PIPELINE, "sh", _new_name(), golden], target)),
        FLOOR: Way(lambda: _run(["createdb", "-T", idle, _new_name()], target)),
    }
    if idle != golden:
        found["createdb -T of golden in use"] = Way(lambda: _run(["createdb", "-T", golden, _new_name()], target))
    for tool, way in zip(tools, (_dslr, _db_git), strict=True):
        found[tool.package] = way(tool, target, golden, scratch)
    return found


def _dslr(tool: Tool, target: Target, golden: str, _scratch: Path) -> Way:
    url = target.url.with_database(golden).text
    return Way(lambda: _run([tool.require(), "--url", url, "snapshot", _new_name()], target))


def _db_git(tool: Tool, target: Target, golden: str, scratch: Path) -> Way:
    """Take its fastest strategy, which ends the sessions on golden; the other one is `pg_dump` again."""
    repository = scratch / f"db-git-{_new_name()}"
    url = target.url.with_database(golden).text
    options = ("--mode", "per-branch", "--strategy", "template", "--on-active-connections", "terminate", "--no-hook")

    def prepare() -> None:
        if not repository.exists():
            repository.mkdir()
            _run(["git", "init", "-q", "-b", "main"], target, repository)
            _run(["git", *_AUTHOR, "commit", "-q", "--allow-empty", "-m", "Start"], target, repository)
            _run([tool.require(), "init", "--database-url", url, *options], target, repository)

    return Way(lambda: _run([tool.require(), "create", _new_name()], target, repository), prepare)


def _install(scratch: Path, package: str, *others: str) -> Tool:
    environment = scratch / package
    program = environment / "bin" / package
    obstacle = ""
    for python in _pythons():
        try:
            _run([python, "-m", "venv", "--clear", environment])
            _run([environment / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", package, *others])
        except (OSError, RuntimeError) as error:
            obstacle = f"does not install: {error}"
        else:
            return Tool(package, program)
    return Tool(package, program, obstacle)


def _pythons() -> list[str]:
    """Return the newer Pythons on PATH, which some tools want, the newest first, and then our own."""
    names = (f"python3.{minor}" for minor in range(sys.version_info.minor + 5, sys.version_info.minor, -1))
    return [*filter(None, map(shutil.which, names)), sys.executable]


def _new_name() -> str:
    return f"copy{next(_numbers)}"


def _run(command: Sequence[str | Path], target: Target | None = None, cwd: Path | None = None) -> None:
    """
    Run *command*; with *target*, so that it finds that server and the programs of its version.

    Raises:
        RuntimeError: If it fails; with the line that tells most.
    """
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    if target:
        environment |= target.url.environment()
        environment["PATH"] = f"{target.programs.directory}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"status {done.returncode}"]
        raise RuntimeError(textwrap.shorten(next((line for line in lines if "error" in line.lower()), lines[-1]), 100))
