"""
Time whole commands: `inv worktree.create` beside the shell flow that it replaces, and what every command costs.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.guard import Guard
from bench.ours import AT_ONCE
from bench.sessions import SESSIONS, connected
from bench.timing import Way, in_turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.servers import Target
    from bench.timing import Times

SHELL = "seed: worktree.sh"
BARE = "inv --list, of one task"

_SCRIPT = Path(__file__).with_name("worktree.sh")
_INV = (sys.executable, "-m", "invoke")
_AUTHOR = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org")


@dataclass(frozen=True)
class Command:
    """A whole command, measured, and *than*, what it is compared with."""

    command: str
    times: Times
    than: str
    base: Times


def measure_commands(target: Target, golden: str, scratch: Path, rounds: int) -> Iterator[Command]:
    """Time the commands in turn, in a repository of a hundred files, three sessions connected to *golden*."""
    bare = scratch / "bare"
    bare.mkdir()
    (bare / "tasks.py").write_text(
        'from invoke.tasks import task\n\n\n@task\ndef one(c):\n    """Do one thing"""\n', encoding="utf-8"
    )
    app = _new_repository(scratch / "app", target.url.with_database(golden).text)
    environment = _environment(target, golden)
    names = (f"b{number}" for number in itertools.count())

    def create(method: str, count: int = 1) -> None:
        chosen = {**environment, "WORKTREE_CLONE_METHOD": method}
        _run(*[_Call([*_INV, "worktree.create", next(names)], app, chosen) for _ in range(count)])

    ways = {
        SHELL: Way(lambda: _run(_Call([str(_SCRIPT), next(names)], app, environment))),
        "inv worktree.create, snapshot current": Way(lambda: create("auto")),
        "inv worktree.create, method dump": Way(lambda: create("dump")),
        f"{AT_ONCE} times inv worktree.create at once, snapshot current": Way(lambda: create("auto", AT_ONCE)),
        "git worktree add": Way(
            lambda: _run(_Call(["git", "worktree", "add", "-q", f"../{next(names)}"], app, environment))
        ),
    }
    with target.server.connect() as connection, connected(target, golden, SESSIONS) as held:
        times = in_turn(Guard(connection, held).around(ways), rounds)
    for name, taken in times.items():
        yield Command(name, taken, SHELL, times[SHELL])
    lists = {
        BARE: Way(lambda: _run(_Call([*_INV, "--list"], bare, environment))),
        "inv --list, of the whole collection": Way(lambda: _run(_Call([*_INV, "--list"], app, environment))),
    }
    times = in_turn(lists, rounds)
    for name, taken in times.items():
        yield Command(name, taken, BARE, times[BARE])


@dataclass(frozen=True)
class _Call:
    arguments: list[str]
    directory: Path
    environment: dict[str, str]


def _run(*calls: _Call) -> None:
    """
    Run all *calls* at the same time.

    Raises:
        RuntimeError: If one fails; with what it says to that.
    """
    running = [
        subprocess.Popen(
            call.arguments,
            cwd=call.directory,
            env=call.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for call in calls
    ]
    said = [process.communicate()[1] for process in running]
    for process, text in zip(running, said, strict=True):
        if process.returncode:
            raise RuntimeError(
                textwrap.shorten(text[max(text.find("error:"), 0) :] or f"status {process.returncode}", 200)
            )


def _environment(target: Target, golden: str) -> dict[str, str]:
    environment = {
        **os.environ,
        **target.url.environment(),
        "PATH": f"{target.programs.directory}{os.pathsep}{os.environ['PATH']}",
        "WORKTREE_TEMPLATE_DB": golden,
        "WORKTREE_MIGRATE": "none",
    }
    environment.pop("DATABASE_URL", None)
    return environment


def _new_repository(path: Path, database_url: str) -> Path:
    """Make a repository with a task file, an env file and a hundred source files."""
    path.mkdir()
    (path / "tasks.py").write_text("from tasks_lib import ns\n", encoding="utf-8")
    (path / ".gitignore").write_text(".env*\n", encoding="utf-8")
    (path / ".env").write_text(
        f"APP_HOST=https://team.ngrok.app\nPORT=3000\nDATABASE_URL={database_url}\n", encoding="utf-8"
    )
    (path / "src").mkdir()
    for number in range(100):
        (path / "src" / f"module_{number}.py").write_text(f"VALUE = {number}\n" * 100, encoding="utf-8")
    for arguments in (["init", "-q", "-b", "main"], ["add", "--all"], [*_AUTHOR, "commit", "-q", "-m", "Start"]):
        subprocess.run(["git", *arguments], cwd=path, check=True, stdin=subprocess.DEVNULL)
    return path
