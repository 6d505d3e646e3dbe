"""Initiatives, phases, tasks, projects; their dependencies are in `test_graph`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks_lib.errors import ConflictError, NotFoundError
from tasks_lib.ledger.repositories.work import Changed
from tasks_lib.ledger.schema.work import InitiativeProject

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def ids(rows):
    return [row.id for row in rows]


def test_work_is_found_in_order(ledger):
    """Initiatives by status, phases by initiative, tasks by phase and parent: in their order, then by id."""
    with replace(ledger, clock=lambda: NOON).write() as tx:
        for name in ("y", "x"):
            tx.initiatives.create(id=name, name=name)
        tx.initiatives.create(id="z", name="z", status="archived")
        assert ids(tx.initiatives.find_all(status="active")) == ["x", "y"]
        for name in ("q", "p"):
            tx.phases.create(id=name, name=name, initiative_id="x")
        assert ids(tx.phases.find_by_initiative_id("x")) == ["p", "q"]
        assert tx.phases.find_by_initiative_id("y") == []
        for name, order in (("a", 2), ("c", 1), ("b", 1), ("d", -1)):
            tx.tasks.create(id=name, name=name, phase_id="p", order=order)
            tx.tasks.create(id=f"{name}{name}", name=name, parent_task_id="a", order=order)
        assert ids(tx.tasks.find_by_phase_id("p")) == ["d", "b", "c", "a"]
        assert ids(tx.tasks.find_by_parent_task_id("a")) == ["dd", "bb", "cc", "aa"]


def test_a_task_belongs_to_one_initiative(ledger):
    """A task is in the initiative of its phase and of what it is a part of; it cannot leave it, nor contain itself."""
    with ledger.write() as tx:
        for name in ("x", "y"):
            tx.initiatives.create(id=name, name=name)
            tx.phases.create(id=f"{name}-phase", name=name, initiative_id=name)
        whole = tx.tasks.create(name="whole", phase_id="x-phase", initiative_id=None)
        part = tx.tasks.create(name="part", parent_task_id=whole.id)
        free = tx.tasks.create(name="free")
        assert [task.initiative_id for task in (whole, part, free)] == ["x", "x", None]
        for wrong in (
            {"phase_id": "x-phase", "initiative_id": "y"},
            {"phase_id": "y-phase", "parent_task_id": whole.id},
        ):
            with pytest.raises(ConflictError, match="belongs to the initiative"):
                tx.tasks.create(name="wrong", **wrong)
        for task, wrong in (
            (part, {"phase_id": "y-phase"}),
            (part, {"initiative_id": "y"}),
            (part, {"initiative_id": None, "parent_task_id": None}),
            (whole, {"parent_task_id": part.id}),
            (whole, {"parent_task_id": whole.id}),
            (free, {"parent_task_id": whole.id}),
        ):
            with pytest.raises(ConflictError):
                tx.tasks.update(task.id, **wrong)
        for wrong in ({"phase_id": "nothing"}, {"parent_task_id": "nothing"}):
            with pytest.raises(NotFoundError):
                tx.tasks.create(name="wrong", **wrong)
            with pytest.raises(NotFoundError):
                tx.tasks.update(part.id, **wrong)
        assert tx.tasks.update(part.id, parent_task_id=None, phase_id="x-phase").initiative_id == "x"
        assert tx.tasks.update(whole.id, parent_task_id=part.id, phase_id=None).initiative_id == "x"


def test_projects_of_an_initiative(ledger):
    """Those that stay are not touched, new ones are added once, others go; an unknown one changes nothing."""

    def links(tx):
        return {link.project_id: link.created_at for link in tx.session.query(InitiativeProject)}

    with replace(ledger, clock=lambda: NOON).write() as tx:
        tx.initiatives.create(id="i", name="i")
        for name in ("c", "a", "b"):
            tx.projects.create(id=name, name=f"{name}-project", url=f"https://git.example.org/{name}")
        assert tx.projects.set_initiative_projects("i", ["a", "b", "a"]) == Changed(["a", "b"], [])
    with ledger.write() as tx:
        assert tx.projects.set_initiative_projects("i", iter(["c", "b"])) == Changed(["c"], ["a"])
        assert ids(tx.projects.find_projects_by_initiative_id("i")) == ["b", "c"]
        assert links(tx)["b"] == NOON < links(tx)["c"]
        assert tx.projects.set_initiative_projects("i", ["b", "c"]) == Changed([], [])
        with pytest.raises(ConflictError, match="set of projects"):
            tx.projects.set_initiative_projects("i", ["a", "nothing"])
        assert ids(tx.projects.find_projects_by_initiative_id("i")) == ["b", "c"]
        assert tx.projects.set_initiative_projects("i", []) == Changed([], ["b", "c"])
        assert tx.projects.find_projects_by_initiative_id("i") == []
        with pytest.raises(ConflictError):
            tx.projects.set_initiative_projects("nothing", ["a"])


def test_projects_have_names_and_urls_of_their_own(ledger):
    """No two projects share a name or a URL; when one was fetched is kept."""
    with ledger.write() as tx:
        tx.projects.create(name="a", url="u")
        for same in ({"name": "a", "url": "v"}, {"name": "b", "url": "u"}):
            with pytest.raises(ConflictError), tx.session.begin_nested():
                tx.projects.create(**same)
        (project,) = tx.projects.find_all()
        assert project.default_branch == "main"
        assert tx.projects.update(project.id, last_fetched_at=NOON).last_fetched_at == NOON
