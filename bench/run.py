"""
Time whole commands: `inv worktree.create` beside the shell flow it replaces, and `inv --list` beside bare Invoke.

Each pair runs in turn, A B A B, so that a machine whose speed drifts does both alike; quote the ratios.
usage: run.py [--runs N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.databases import binaries
from tasks_lib.databases.embedded.cluster import Cluster, open_to_pass
from tasks_lib.databases.server import Server
from tasks_lib.databases.url import DatabaseUrl
from tasks_lib.loquent import golden
from tasks_lib.output import table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).resolve().parent
INV = [sys.executable, "-m", "invoke"]


def main() -> None:
    """Run every comparison and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="counted runs of each command (default: 10)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        # PostgreSQL refuses root, and the account that it runs as has to reach its data.
        open_to_pass(work)
        cluster = Cluster(work / "server")
        try:
            rows = [*compare_create(work, cluster, runs), *compare_list(work, runs)]
        finally:
            cluster.destroy()
    print(table(("COMMAND", "MIN ms", "MEDIAN ms", "MAX ms", "RATIO"), rows))


def compare_create(work: Path, cluster: Cluster, runs: int) -> list[tuple[str, ...]]:
    """Compare creating a worktree with a clone of the 17 MB golden, three idle sessions connected to it."""
    url = DatabaseUrl.parse(cluster.start())
    golden.create(url.text)
    repository = new_repository(work / "app", url.with_database("loquent_latest").text)
    with Server(url).connect() as connection:
        client = binaries.client_for(connection.info.server_version)
    environment = {
        **os.environ,
        **url.environment(),
        "PATH": f"{client.directory}{os.pathsep}{os.environ['PATH']}",
        "WORKTREE_CLONE_METHOD": "dump",
        "WORKTREE_TEMPLATE_DB": "loquent_latest",
        "WORKTREE_MIGRATE": "none",
    }
    environment.pop("DATABASE_URL", None)
    with ExitStack() as sessions:
        for _ in range(3):
            sessions.enter_context(Server(url).connect("loquent_latest"))
        names = (f"b{number}" for number in range(10_000))
        return in_turn(
            {
                "seed 000's shell flow, 17 MB, golden in use": lambda: [str(HERE / "worktree.sh"), next(names)],
                "inv worktree.create, method dump": lambda: [*INV, "worktree.create", next(names)],
            },
            repository,
            environment,
            runs,
        )


def compare_list(work: Path, runs: int) -> list[tuple[str, ...]]:
    """Compare `inv --list` of the whole collection with that of a file that holds one task."""
    bare = work / "bare"
    bare.mkdir()
    (bare / "tasks.py").write_text(
        'from invoke.tasks import task\n\n\n@task\ndef one(c):\n    """Do one thing"""\n', encoding="utf-8"
    )
    return in_turn(
        {
            "inv --list, one task": lambda: [*INV, "--search-root", str(bare), "--list"],
            "inv --list, the whole collection": lambda: [*INV, "--search-root", str(work / "app"), "--list"],
        },
        work,
        dict(os.environ),
        runs,
    )


def in_turn(
    commands: dict[str, Callable[[], Sequence[str]]], cwd: Path, environment: dict[str, str], runs: int
) -> list[tuple[str, ...]]:
    """Run the commands in turn, once uncounted; return a row each, with the median ratio to the first of its round."""
    seconds: dict[str, list[float]] = {label: [] for label in commands}
    for round_ in range(runs + 1):
        for label, arguments in commands.items():
            started = time.perf_counter()
            done = subprocess.run(
                arguments(), cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            if done.returncode:
                sys.exit(f"`{label}` failed:\n{done.stderr.decode()}")
            if round_:
                seconds[label].append(time.perf_counter() - started)
    first = next(iter(seconds.values()))
    return [
        (
            label,
            *(f"{1000 * figure(taken):.0f}" for figure in (min, statistics.median, max)),
            f"{statistics.median(mine / base for mine, base in zip(taken, first, strict=True)):.2f}",
        )
        for label, taken in seconds.items()
    ]


def new_repository(path: Path, database_url: str) -> Path:
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
    author = ["-c", "user.name=Bench", "-c", "user.email=bench@example.org"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "--all"], [*author, "commit", "-q", "-m", "Start"]):
        subprocess.run(["git", *arguments], cwd=path, check=True, stdin=subprocess.DEVNULL)
    return path


if __name__ == "__main__":
    main()
