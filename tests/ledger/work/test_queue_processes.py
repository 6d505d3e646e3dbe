"""The work queue under many processes, some of which are killed."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

from tasks_lib.ledger.agents import registration
from tasks_lib.ledger.schema.work import TaskStatus
from tasks_lib.ledger.work import queue
from tests import forks

DRAIN = """
from tasks_lib.ledger.work import queue
from tasks_lib.ledger.agents import registration
ledger, result = opened(), []
with ledger.write() as tx:
    me = registration.register(tx, f"r/{number}").id
while True:
    with ledger.write() as tx:
        claimed = queue.claim_next(tx, me)
    if claimed is None:
        break
    result.append(claimed.task.id)
    with ledger.write() as tx:
        queue.complete(tx, claimed.task.id, None, me)
"""

BY_NAME = """
from tasks_lib.ledger.work import queue
try:
    with opened().write() as tx:
        result = queue.claim(tx, tx.tasks.find_all()[0].id, tx.agents.named("ab"[number]).id).task.name
except GoldentreeError as error:
    result = error.why
"""

RELEASE = """
from tasks_lib.ledger.work import queue
from tasks_lib.ledger.agents import registration
ledger, result = opened(), []
with ledger.write() as tx:
    me = registration.register(tx, f"r/{number}").id
for _ in range(10):
    with ledger.write() as tx:
        queue.release_stale(tx)
        claimed = queue.claim_next(tx, me)
    if claimed and not claimed.again:
        result.append(claimed.task.id)
"""

# Claims a task and is killed holding it.
CLAIMER = """
import json, os, signal, sys
from pathlib import Path
from tasks_lib.ledger.work import queue
from tasks_lib.ledger.agents import registration
from tasks_lib.ledger.ledger import Ledger

where = json.loads(sys.argv[1])
ledger = Ledger.on_postgres(where, "there") if isinstance(where, dict) else Ledger.on_sqlite(Path(where))
with ledger.write() as tx:
    me = registration.register(tx, "r/main", name="mayfly", pid=os.getpid())
    claimed = queue.claim_next(tx, me.id)
print(claimed.task.name, flush=True)
signal.pause()
"""


def test_eight_processes_drain_the_queue(ledger, place, crowd):
    """Each of 500 tasks is claimed and done once, without an error."""
    with ledger.write() as tx:
        made = [tx.tasks.create(name=str(number)).id for number in range(500)]
    claimed = crowd(place, 8, DRAIN)
    assert all(isinstance(tasks, list) for tasks in claimed), claimed
    assert Counter(task for tasks in claimed for task in tasks) == Counter(made)
    with ledger.read() as tx:
        assert queue.queue_state(tx)["completed"] == len(made)


def test_two_claim_the_same_task(ledger, place, crowd):
    """One agent gets the task, the other an error that names it."""
    for round_ in range(3):
        with ledger.write() as tx:
            tx.tasks.create(name="t", order=-round_)
            for name in "ab":
                registration.register(tx, "r/main", name=name)
        assert sorted(crowd(place, 2, BY_NAME)) in (
            ["it is in progress, held by a", "t"],
            ["it is in progress, held by b", "t"],
        )
        with ledger.write() as tx:
            queue.complete(tx, tx.tasks.find_all()[0].id)


def test_many_release_the_same_tasks(ledger, place, crowd):
    """A lost task found by several processes is released once, and stays with its next holder."""
    with ledger.write() as tx:
        for number in range(5):
            tx.tasks.create(name=str(number))
            registration.register(tx, "r/gone", name=f"lost-{number}")
            queue.claim_next(tx, tx.agents.named(f"lost-{number}").id)
            registration.stop(tx, tx.agents.named(f"lost-{number}").id)
    claimed = [task for tasks in crowd(place, 8, RELEASE) for task in tasks]
    with ledger.read() as tx:
        tasks = tx.tasks.find_all()
        assert sorted(claimed) == sorted(task.id for task in tasks)
        assert {(task.status, task.retry_count) for task in tasks} == {(TaskStatus.IN_PROGRESS, 1)}
        assert all(holder for _, holder in queue.held(tx))


def test_claimers_that_are_killed(ledger, place):
    """The next claim frees what a killed process held; the fourth time it is blocked until a retry."""
    with ledger.write() as tx:
        task = tx.tasks.create(name="cursed").id
    for crash in range(1, queue.MAX_RETRIES + 2):
        where = json.dumps(str(place) if isinstance(place, Path) else place)
        claimer = forks.python(CLAIMER, where)
        assert claimer.read_line() == "cursed\n"
        with ledger.write() as tx:
            assert queue.release_stale(tx) == []
        os.kill(claimer.pid, signal.SIGKILL)
        claimer.wait()
        with ledger.write() as tx:
            [released] = queue.release_stale(tx)
            assert (released.holder.name, released.task.retry_count) == ("mayfly", crash)
            assert tx.agents.find_by_name("mayfly").status == "crashed"
            assert tx.tasks.require(task).status == ("pending" if crash <= queue.MAX_RETRIES else "blocked")
    with ledger.write() as tx:
        assert queue.ready(tx) == []
        assert queue.retry(tx, task).retry_count == 0
        assert [ready.id for ready in queue.ready(tx)] == [task]
