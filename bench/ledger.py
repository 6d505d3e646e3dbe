"""
Time the ledger: agents that drain the queue, the query of what is ready, readers beside a writer, a whole command.

usage: python -m bench.ledger [--rounds N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bench.timing import Way, in_turn
from tasks_lib.ledger.ledger import Ledger
from tasks_lib.ledger.schema.agents import Agent
from tasks_lib.ledger.schema.base import new_id
from tasks_lib.ledger.schema.work import Task, TaskDependency
from tasks_lib.ledger.work import queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.synchronize import Barrier

PROCESSES = 8
TASKS = 2000
GRAPH = 10_000
EDGES = 3  # of each task

_INV = (sys.executable, "-m", "invoke")
_AUTHOR = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org")


@dataclass(frozen=True)
class Figure:
    """What was measured of the ledger, once a round, in *unit*; *target* is what it is held to, if anything."""

    what: str
    values: list[float]
    unit: str
    target: str = ""

    @property
    def median(self) -> float:
        """The median of its rounds."""
        return statistics.median(self.values)


def measure_ledger(scratch: Path, rounds: int) -> Iterator[Figure]:
    """
    Measure the ledger on SQLite, in the directory *scratch*.

    Raises:
        RuntimeError: If a task is claimed twice, or never.
    """
    claimed, finished = [], []
    for number in range(rounds):
        claimed.append(_drained(scratch / f"claims-{number}.db", _claim, agents=TASKS))
        finished.append(_drained(scratch / f"drain-{number}.db", _finish_and_claim, agents=PROCESSES))
    yield Figure(f"claims, by {PROCESSES} processes at once", claimed, "claims/s", "2000")
    yield Figure(f"done and the next one claimed, by {PROCESSES} processes at once", finished, "tasks/s")
    yield from _reading(scratch / "graph.db", rounds)
    yield from _commands(scratch, rounds)


def _drained(path: Path, work: Callable[[Ledger, list[str]], list[str]], agents: int) -> float:
    """Let processes empty a queue, each for its share of the *agents*, and return how many tasks that was a second."""
    ledger = Ledger.on_sqlite(path)
    tasks, names = [new_id() for _ in range(TASKS)], [new_id() for _ in range(agents)]
    _insert(ledger, Task, [{"id": one, "name": one} for one in tasks])
    _insert(ledger, Agent, [{"id": one, "name": one, "worktree_id": "bench"} for one in names])
    ledger.engine.dispose()
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, _meet, (gate,)) as pool:
        running = [pool.submit(_work, path, work, names[number::PROCESSES]) for number in range(PROCESSES)]
        done = [one.result() for one in running]
    taken = [task for ids, _, _ in done for task in ids]
    if sorted(taken) != sorted(tasks):
        raise RuntimeError(f"{len(taken)} claims of {len(set(taken))} tasks, of {len(tasks)}")
    return len(taken) / (max(ended for _, _, ended in done) - min(began for _, began, _ in done))


_gate: Barrier


def _meet(gate: Barrier) -> None:
    global _gate  # noqa: PLW0603 - a barrier cannot be passed with the work
    _gate = gate


def _work(
    path: Path, work: Callable[[Ledger, list[str]], list[str]], agents: list[str]
) -> tuple[list[str], float, float]:
    """Return what was claimed, and when that began and ended, once all processes are there."""
    ledger = Ledger.on_sqlite(path)
    _gate.wait()
    began = time.monotonic()
    return work(ledger, agents), began, time.monotonic()


def _claim(ledger: Ledger, agents: list[str]) -> list[str]:
    """Claim a task for each agent, a transaction each."""
    taken = []
    for agent in agents:
        with ledger.write() as tx:
            if claimed := queue.claim_next(tx, agent):
                taken.append(claimed.task.id)
    return taken


def _finish_and_claim(ledger: Ledger, agents: list[str]) -> list[str]:
    """Do what `inv task.done --claim` does until nothing is ready."""
    [agent], taken = agents, list[str]()
    while True:
        with ledger.write() as tx:
            if taken:
                queue.complete(tx, taken[-1], None, agent)
            claimed = queue.claim_next(tx, agent)
        if claimed is None:
            return taken
        taken.append(claimed.task.id)


def _reading(path: Path, rounds: int) -> Iterator[Figure]:
    """Time the query for ready tasks, with and without a concurrent writer."""
    ledger, chance = Ledger.on_sqlite(path), random.Random(5)  # noqa: S311 - a graph, not a secret
    ids = [new_id() for _ in range(GRAPH)]
    edges = {
        (ids[number], before)
        for number in range(EDGES, GRAPH)
        for before in chance.sample(ids[max(0, number - 1000) : number], EDGES)
    }
    _insert(ledger, Task, [{"id": one, "name": one} for one in ids])
    _insert(ledger, TaskDependency, [{"task_id": task, "depends_on_task_id": before} for task, before in edges])

    def read() -> None:
        with ledger.read() as tx:
            queue.ready(tx)

    def read_beside_writer() -> None:
        with ledger.write() as tx:
            tx.session.connection()  # takes the lock
            read()

    alone, beside = f"ready query, {GRAPH} tasks and {len(edges)} edges", "the same while a writer holds the lock"
    times = in_turn({alone: Way(read), beside: Way(read_beside_writer)}, 5 * rounds)
    for what, taken in times.items():
        yield Figure(what, [1000 * seconds for seconds in taken.by_round.values()], "ms", "10")
    ledger.engine.dispose()


def _commands(scratch: Path, rounds: int) -> Iterator[Figure]:
    """Time `inv task.ready` beside an `inv` that does nothing."""
    bare, app = scratch / "nothing", scratch / "ledger"
    for path, text in (
        (bare, 'from invoke.tasks import task\n\n\n@task\ndef one(c):\n    """Do one thing"""\n'),
        (app, "from tasks_lib import ns\n"),
    ):
        path.mkdir()
        (path / "tasks.py").write_text(text, encoding="utf-8")
    _run("git", "init", "-q", at=app)
    _run("git", *_AUTHOR, "commit", "-q", "--allow-empty", "-m", "Start", at=app)
    _run(*_INV, "task.add", "one", at=app)
    ways = {
        "inv one": Way(lambda: _run(*_INV, "one", at=bare)),
        "inv task.ready": Way(lambda: _run(*_INV, "task.ready", at=app)),
    }
    times = in_turn(ways, 3 * rounds)
    base, ready = (taken.by_round for taken in times.values())
    yield Figure("inv of one task that does nothing", [1000 * seconds for seconds in base.values()], "ms")
    more = [1000 * (ready[number] - base[number]) for number in base]
    yield Figure("inv task.ready, longer than that", more, "ms", "350")


def _insert(ledger: Ledger, table: Any, rows: list[dict[str, Any]]) -> None:
    moments = {name: ledger.clock() for name in ("created_at", "updated_at") if name in table.__table__.c}
    with ledger.write() as tx:
        tx.session.execute(sa.insert(table), [{**row, **moments} for row in rows])


def _run(*command: str, at: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"LEDGER_URL", "DATABASE_URL"}}
    subprocess.run(command, cwd=at, env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        for figure in measure_ledger(Path(directory), parser.parse_args().rounds):
            least, most = min(figure.values), max(figure.values)
            target = f", target {figure.target}" if figure.target else ""
            print(f"{figure.what}: {figure.median:.4g} {figure.unit} ({least:.4g} to {most:.4g}{target})", flush=True)


if __name__ == "__main__":
    main()
