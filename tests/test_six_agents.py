"""Six agents in six worktrees, three of which are killed, finish a graph of tasks."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from tasks_lib.ledger.ledger import Ledger
from tasks_lib.ledger.schema.work import TaskStatus

TASKS = 100

# Three agents in one script, each a process in its worktree: the functions.
FUNCTIONS = """
import os, signal, sys, time
from tasks_lib.collections._project import current_project
from tasks_lib.ledger.agents.registration import register
from tasks_lib.ledger.work import queue
from tasks_lib.workflows.ledger_access import ledger_of, worktree_id

for worktree, last in zip(sys.argv[1::2], sys.argv[2::2]):
    if os.fork() == 0:
        break
else:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            sys.exit()

os.chdir(worktree)
project = current_project()
ledger = ledger_of(project)
with ledger.write() as tx:
    me = register(tx, worktree_id(project), pid=os.getpid())
number = 0
while True:
    with ledger.write() as tx:
        queue.release_stale(tx)
        claimed = queue.claim_next(tx, me.id)
        state = queue.queue_state(tx)
    if claimed is None:
        if not state["waiting"] + state["in_progress"]:
            os._exit(0)
        time.sleep(0.05)
        continue
    number += 1
    if number == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    with ledger.write() as tx:
        queue.complete(tx, claimed.task.id, f"by {me.name}", me.id)
    os.write(1, f"{claimed.task.id}\\n".encode())
"""

# Three agents in another, each a shell in its worktree: the commands.
COMMANDS = """
agent() {
    cd "$1" && exec sh -c '
        goldentree agent.register --pid $$ >&2
        number=0
        while true; do
            goldentree task.claim --json > claimed.json; status=$?
            if [ $status = 3 ]; then
                goldentree task.list --status pending --json | grep -q \\"id\\" ||
                    goldentree task.list --status in_progress --json | grep -q \\"id\\" || exit 0
                sleep 0.2; continue
            fi
            [ $status = 0 ] || exit $status
            number=$((number + 1))
            [ $number = '"$2"' ] && kill -KILL $$
            task=$(sed -n "s/^ *\\"id\\": \\"\\(.*\\)\\",$/\\1/p" claimed.json | head -n 1)
            goldentree task.done "$task" --summary "by a shell" >&2 && echo "$task"
        done'
}
while [ $# -gt 0 ]; do agent "$1" "$2" & shift 2; done
wait
"""

NEVER = "0"


@pytest.fixture
def worktrees(repository):
    """Give six worktrees without databases, which this test does not need."""
    found = []
    for number in range(6):
        repository.json("worktree.create", f"agent-{number}", "--no-db")
        found.append(str(repository.worktree(f"agent-{number}")))
    return found


def make_graph(ledger):
    """Make tasks, most of which wait for earlier ones; return the blockers of each."""
    chance = random.Random(5)
    with ledger.write() as tx:
        initiative = tx.initiatives.create(name="a graph")
        tasks = [tx.tasks.create(name=f"task {number}", initiative_id=initiative.id) for number in range(TASKS)]
        blockers = {}
        for number, task in enumerate(tasks):
            before = tasks[max(0, number - 80) : max(0, number - 25)]
            blockers[task.id] = [blocker.id for blocker in chance.sample(before, min(len(before), chance.randrange(4)))]
            for blocker in blockers[task.id]:
                tx.tasks.create_dependency(task.id, blocker)
    return blockers


def test_six_agents_finish_a_graph(repository, worktrees):
    """Every task is done once, after its blockers, though three of six agents are killed while they hold one."""
    ledger = Ledger.on_sqlite(repository.path / ".git/goldentree/ledger.db")
    blockers = make_graph(ledger)
    places = list(zip(worktrees, ["12", NEVER, "5", NEVER, "1", NEVER], strict=True))
    scripts = [
        [sys.executable, "-c", FUNCTIONS, *(word for place in places[0::2][:2] + places[1:2] for word in place)],
        ["sh", "-c", COMMANDS, "sh", *(word for place in places[3:] for word in place)],
    ]
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # noqa: PTH120
    running = [
        subprocess.Popen(script, env={**os.environ, "PATH": path}, stdout=subprocess.PIPE, text=True)
        for script in scripts
    ]
    printed = [process.communicate(timeout=120)[0].split() for process in running]

    with ledger.read() as tx:
        tasks = {task.id: task for task in tx.tasks.find_all()}
        agents = tx.agents.find_all()
    assert {task.status for task in tasks.values()} == {TaskStatus.COMPLETED}
    assert sorted(printed[0] + printed[1]) == sorted(tasks)
    assert all(
        tasks[blocker].updated_at < tasks[task].updated_at for task, before in blockers.items() for blocker in before
    )
    assert sum(task.retry_count for task in tasks.values()) == 3
    assert sorted(agent.status for agent in agents) == ["crashed"] * 3 + ["idle"] * 3
    assert all(printed)
