"""The work queue: what is ready, who gets it, and what becomes of it."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from tasks_lib.errors import ConflictError, NotFoundError
from tasks_lib.ledger.agents import registration
from tasks_lib.ledger.ledger import Ledger
from tasks_lib.ledger.schema.agents import AgentStatus
from tasks_lib.ledger.schema.work import PLANNING, PhaseStatus, TaskStatus
from tasks_lib.ledger.work import queue


def names(tasks):
    return [task.name for task in tasks]


@pytest.fixture
def tx(ledger):
    """Give a transaction that writes, on each of the two engines."""
    with ledger.write() as tx:
        yield tx


@pytest.fixture
def agents(tx):
    """Give two agents, in a worktree each."""
    return SimpleNamespace(**{name: registration.register(tx, f"r/{name}", name=name) for name in ("ann", "bob")})


def add(tx, name, *before, **fields):
    task = tx.tasks.create(name=name, **fields)
    for blocker in before:
        tx.tasks.create_dependency(task.id, blocker.id)
    return task


def test_waves_of_a_diamond(tx, agents):
    """What waits for two is ready when both are done, and completing says what became ready by it."""
    a = add(tx, "a")
    b, c = add(tx, "b", a), add(tx, "c", a)
    add(tx, "d", b, c)
    assert names(queue.ready(tx)) == ["a"]
    freed = []
    for _ in range(4):
        task = queue.claim_next(tx, agents.ann.id).task
        freed.append((task.name, names(queue.complete(tx, task.id, "what came of it", agents.ann.id))))
    assert freed == [("a", ["b", "c"]), ("b", []), ("c", ["d"]), ("d", [])]
    assert queue.claim_next(tx, agents.ann.id) is None
    assert {task.summary for task in tx.tasks.find_all()} == {"what came of it"}
    assert tx.agents.find_by_name("ann").status is AgentStatus.IDLE
    assert tx.agents.find_by_task_id(task.id).name == "ann"


def test_the_order_of_the_queue(tx):
    """Priority, then order, then age; planning never; a phase's tasks while it is open and waits for no other."""
    goal = tx.initiatives.create(name="goal")
    closed = tx.phases.create(name="closed", initiative_id=goal.id)
    later = tx.phases.create(name="later", initiative_id=goal.id, status=PhaseStatus.APPROVED)
    tx.phases.create_dependency(later.id, closed.id)
    add(tx, "in a closed phase", phase_id=closed.id, priority="high")
    add(tx, "in a phase that waits", phase_id=later.id, priority="high")
    for category in PLANNING:
        add(tx, category, category=category, priority="high")
    for name, priority, order in (("low", "low", 0), ("second", "medium", 2), ("first", "medium", 1)):
        add(tx, name, priority=priority, order=order)
    add(tx, "younger", priority="medium", order=1, category="review")
    add(tx, "high", priority="high", order=9)
    assert names(queue.ready(tx)) == ["high", "first", "younger", "second", "low"]
    assert names(queue.ready(tx, 2)) == ["high", "first"]
    state = {"ready": 5, "waiting": 2, "planning": 5, "in_progress": 0, "blocked": 0, "completed": 0}
    assert queue.queue_state(tx) == state
    for phase, status, opened in (
        (closed, PhaseStatus.IN_PROGRESS, {"in a closed phase"}),
        (closed, PhaseStatus.PENDING_REVIEW, set()),
        (closed, PhaseStatus.COMPLETED, {"in a phase that waits"}),
    ):
        tx.phases.update(phase.id, status=status)
        assert {name for name in names(queue.ready(tx)) if "phase" in name} == opened


def test_one_task_one_holder(tx, agents):
    """Claiming again returns the held task; other agents get an error, and so do stopped ones."""
    task, other = add(tx, "t", priority="high"), add(tx, "other")
    assert not queue.claim(tx, task.id, agents.ann.id).again
    for claimed in (queue.claim_next(tx, agents.ann.id), queue.claim(tx, task.id, agents.ann.id)):
        assert (claimed.task.id, claimed.again) == (task.id, True)
    with pytest.raises(ConflictError, match="held by ann"):
        queue.claim(tx, task.id, agents.bob.id)
    with pytest.raises(ConflictError, match="one task at a time"):
        queue.claim(tx, other.id, agents.ann.id)
    with pytest.raises(ConflictError, match="is held by ann"):
        queue.complete(tx, task.id, None, agents.bob.id)
    with pytest.raises(ConflictError, match="is pending, not in progress"):
        queue.complete(tx, other.id)
    with pytest.raises(NotFoundError, match="agent `absent` does not exist"):
        queue.claim_next(tx, "absent")
    assert queue.claim_next(tx, agents.bob.id).task.id == other.id
    queue.complete(tx, task.id)  # a person
    assert (tx.tasks.require(task.id).status, tx.tasks.require(task.id).summary) == (TaskStatus.COMPLETED, None)
    registration.stop(tx, agents.ann.id)
    with pytest.raises(ConflictError, match="agent `ann` is stopped"):
        queue.claim_next(tx, agents.ann.id)


def test_why_a_task_is_not_ready(tx, agents):
    """Whatever keeps a task from being claimed is said, with names; nothing keeps one that is ready."""
    goal = tx.initiatives.create(name="goal")
    first = tx.phases.create(name="first", initiative_id=goal.id)
    second = tx.phases.create(name="second", initiative_id=goal.id, status=PhaseStatus.APPROVED)
    tx.phases.create_dependency(second.id, first.id)
    loose = add(tx, "loose", priority="high", initiative_id=goal.id)
    waiting = add(tx, "waiting", loose, initiative_id=goal.id)
    said = [
        (loose, ""),
        (waiting, f"it waits for {loose.id} (loose)"),
        (add(tx, "plan", category="plan"), "its category is plan: planning cannot be claimed"),
        (add(tx, "1", phase_id=first.id), "its phase `first` is pending"),
        (add(tx, "2", phase_id=second.id), "its phase `second` waits for `first`"),
    ]
    for task, why in said:
        assert queue.obstacle(tx, task) == why
    for task, why in said[1:]:
        with pytest.raises(ConflictError, match="cannot be claimed") as refused:
            queue.claim(tx, task.id, agents.ann.id)
        assert refused.value.why == why
    queue.claim_next(tx, agents.ann.id)
    assert queue.obstacle(tx, tx.tasks.require(loose.id)) == "it is in progress, held by ann"
    registration.stop(tx, agents.ann.id)
    assert queue.obstacle(tx, tx.tasks.require(loose.id)) == "it is in progress, and its holder is gone"


def test_failed_tasks_return_three_times(tx, agents):
    """A task that fails goes back three times, then it is blocked until a retry; `block` does so at once."""
    task = add(tx, "t")
    states = []
    for _ in range(queue.MAX_RETRIES + 1):
        queue.claim_next(tx, agents.ann.id)
        failed = queue.fail(tx, task.id, "no luck", agents.ann.id)
        states.append((failed.status, failed.retry_count, failed.summary))
    assert states == [("pending", count, "no luck") for count in (1, 2, 3)] + [("blocked", 4, "no luck")]
    assert queue.claim_next(tx, agents.ann.id) is None
    retried = queue.retry(tx, task.id)
    assert (retried.status, retried.retry_count) == (TaskStatus.PENDING, 0)
    with pytest.raises(ConflictError, match="is pending, not blocked"):
        queue.retry(tx, task.id)
    queue.claim_next(tx, agents.bob.id)
    assert queue.fail(tx, task.id, block=True).status is TaskStatus.BLOCKED


def test_releasing_what_nobody_works_on(tx, agents):
    """A stopped, crashed or idle holder keeps no task from being released; one that cannot be told counts as alive."""
    task = add(tx, "t")
    queue.claim_next(tx, agents.ann.id)
    assert queue.release_stale(tx) == []  # an agent without a pid counts as alive
    registration.stop(tx, agents.ann.id)
    [released] = queue.release_stale(tx)
    assert (released.holder.name, released.task.status, released.task.retry_count) == ("ann", TaskStatus.PENDING, 1)

    back = registration.register(tx, "r/ann", name="ann", pid=os.getpid())
    assert queue.claim_next(tx, back.id).task.id == task.id
    assert queue.release_stale(tx) == []  # its process is there
    [released] = queue.release_stale(tx, lost=lambda agent: agent.name == "ann")
    assert (released.holder.name, released.task.retry_count) == ("ann", 2)
    assert tx.agents.find_by_name("ann").status is AgentStatus.CRASHED

    # One that held it before is idle now, and names it as its last task.
    assert queue.claim_next(tx, agents.bob.id).task.id == task.id
    tx.agents.update(agents.bob.id, status=AgentStatus.IDLE)
    [released] = queue.release_stale(tx)
    assert released.task.retry_count == 3
    assert tx.agents.find_by_name("bob").status is AgentStatus.IDLE


def test_revived_agent_loses_its_task(tx, agents):
    """An agent that was stopped comes back without its task, which the next claim finds."""
    task = add(tx, "t")
    queue.claim_next(tx, agents.ann.id)
    registration.stop(tx, agents.ann.id)
    assert registration.register(tx, "r/ann", name="ann").status is AgentStatus.IDLE
    assert queue.held_by(tx, tx.agents.require(agents.ann.id)) is None
    with pytest.raises(ConflictError, match="held by no agent"):
        queue.complete(tx, task.id, None, agents.ann.id)
    assert [released.task.id for released in queue.release_stale(tx)] == [task.id]
    assert not queue.claim_next(tx, agents.ann.id).again


def test_an_index_serves_the_queue(sqlite_ledger):
    """SQLite sorts nothing to claim the first task, and looks at no task but those in progress for lost holders."""
    ran = []
    sa.event.listen(
        sqlite_ledger.engine,
        "before_cursor_execute",
        lambda _c, _k, statement, values, _x, _m: ran.append((statement, values)),
    )
    with sqlite_ledger.write() as tx:
        agent = registration.register(tx, "r/main")
        tx.tasks.create(name="t")
        ran.clear()
        queue.release_stale(tx)
        queue.claim_next(tx, agent.id)
        plans = [
            "\n".join(
                row[3] for row in tx.session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            )
            for statement, values in list(ran)
            if "tasks" in statement
        ]
    assert not any("TEMP B-TREE" in plan for plan in plans)
    for index in ("ix_tasks_queue", "ix_tasks_held"):
        assert any(f"SCAN tasks USING INDEX {index}" in plan or f"COVERING INDEX {index}" in plan for plan in plans), (
            plans
        )


def test_a_task_that_somebody_lets_another_wait_for(postgres_parameters):
    """A task can be claimed while another transaction adds a dependency on it."""
    ledger = Ledger.on_postgres(postgres_parameters, "there")
    with ledger.write() as tx:
        agent, task = registration.register(tx, "r/main"), tx.tasks.create(name="t")
    with ledger.write() as tx:
        tx.tasks.create_dependency(tx.tasks.create(name="later").id, task.id)
        with ledger.write() as other:
            assert queue.claim_next(other, agent.id).task.id == task.id
    ledger.engine.dispose()
