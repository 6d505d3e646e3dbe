"""Dependencies never form a cycle, however long, and however many processes add them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import sqlalchemy as sa

from tasks_lib.errors import ConflictError, CycleError, NotFoundError
from tasks_lib.ledger.schema.work import Task, TaskDependency


@pytest.fixture(params=["tasks", "phases"])
def kind(request):
    """Give the name of what waits for each other."""
    return request.param


def chain(tx, kind, size):
    """Make *size* tasks or phases, each waiting for the one after it, and return their ids."""
    initiative = tx.initiatives.create(name="i")
    nodes = getattr(tx, kind)
    ids = [nodes.create(name=str(number), initiative_id=initiative.id).id for number in range(size)]
    for node, other in pairwise(ids):
        nodes.create_dependency(node, other)
    return ids


def test_dependencies_are_listed_both_ways(ledger, kind):
    """What one waits for and what waits for it, in order; a second time changes nothing; not across initiatives."""
    with ledger.write() as tx:
        nodes = getattr(tx, kind)
        a, b, c = chain(tx, kind, 3)
        nodes.create_dependency(a, b)
        nodes.create_dependency(a, c)
        assert nodes.get_dependencies(a) == sorted([b, c])
        assert nodes.get_dependents(c) == sorted([a, b])
        assert (nodes.get_dependencies(c), nodes.get_dependents(a)) == ([], [])
        (stranger,) = chain(tx, kind, 1)
        for refused, error, match in (
            ((a, stranger), ConflictError, "initiative"),
            ((a, a), ConflictError, "itself"),
            ((a, "absent"), NotFoundError, "absent"),
            (("absent", a), NotFoundError, "absent"),
        ):
            with pytest.raises(error) as caught:
                nodes.create_dependency(*refused)
            assert match in f"{caught.value} {caught.value.why}"


def test_circles_are_refused_with_their_path(ledger, kind):
    """A cycle of two or of fifty is refused and named completely; existing edges stay."""
    with ledger.write() as tx:
        nodes = getattr(tx, kind)
        ids = chain(tx, kind, 50)
        for last in (1, 49):
            with pytest.raises(CycleError) as caught:
                nodes.create_dependency(ids[last], ids[0])
            assert caught.value.path == [ids[last], *ids[: last + 1]]
        assert nodes.get_dependencies(ids[49]) == []
        nodes.create_dependency(ids[0], ids[49])


def test_a_large_graph_is_checked(sqlite_ledger):
    """In 100 layers of 100 tasks that wait for three of the next, ways are countless; a check sees each task once."""
    with sqlite_ledger.write() as tx:
        top = chain(tx, "tasks", 1)[0]
        moment = tx.clock()
        initiative_id = tx.tasks.require(top).initiative_id
        stamps = {"initiative_id": initiative_id, "created_at": moment, "updated_at": moment}
        names = [(layer, place) for layer in range(100) for place in range(100)]
        tx.session.execute(sa.insert(Task), [{"id": f"{a}-{b}", "name": "n", **stamps} for a, b in names])
        edges = [(a, b, a + 1, (b + step) % 100) for a, b in names if a < 99 for step in range(3)]
        rows = [{"task_id": f"{a}-{b}", "depends_on_task_id": f"{c}-{d}"} for a, b, c, d in edges]
        tx.session.execute(sa.insert(TaskDependency), rows)
        tx.tasks.create_dependency(top, "0-0")
        with pytest.raises(CycleError) as caught:
            tx.tasks.create_dependency("99-7", top)
        assert len(caught.value.path) == 2 + 100
        assert caught.value.path[:3] == ["99-7", top, "0-0"]


def test_two_cannot_close_a_circle_together(ledger, place, crowd):
    """Of those who add A -> B and B -> A at the same moment, one succeeds."""
    with ledger.write() as tx:
        initiative = tx.initiatives.create(name="i").id
        for name in ("a", "b"):
            tx.tasks.create(id=name, name=name, initiative_id=initiative)
    code = """
import time
with opened().write() as tx:
    tx.tasks.create_dependency(*(("a", "b") if number else ("b", "a")))
    time.sleep(0.3)  # not committed while the other one looks
    result = "added"
"""
    assert {*crowd(place, 2, code)} == {"added", "CycleError"}
