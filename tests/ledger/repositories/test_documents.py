"""Pages and proposals, and what becomes of what agents propose."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks_lib.errors import ConflictError, LedgerError, NotFoundError
from tasks_lib.ledger.schema.documents import ProposalStatus
from tasks_lib.ledger.work import proposals

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def still(ledger):
    """Give a ledger with a stopped clock, with an agent and two initiatives."""
    ledger = replace(ledger, clock=lambda: NOON)
    with ledger.write() as tx:
        tx.agents.create(id="owl", name="owl", worktree_id="w")
        for name in ("i", "j"):
            tx.initiatives.create(id=name, name=f"Initiative {name}")
    return ledger


def ids(rows):
    return [row.id for row in rows]


def test_pages_form_one_tree(still):
    """Each initiative has one root page; pages below stand in their order, and never below themselves."""
    with still.write() as tx:
        assert tx.pages.find_root_page("i") is None
        root = tx.pages.get_or_create_root_page("i")
        assert root.title == "Initiative i"
        assert tx.pages.get_or_create_root_page("i", title="other") == root
        assert tx.pages.find_root_page("i").title == "Initiative i"
        other = tx.pages.get_or_create_root_page("j", title="Plan")
        assert other.title == "Plan"
        with pytest.raises(NotFoundError, match="initiative"):
            tx.pages.get_or_create_root_page("nothing")
        for name, order in (("c", 1), ("b", 1), ("a", 2)):
            tx.pages.create(id=name, initiative_id="i", parent_page_id=root.id, title=name, sort_order=order)
        assert ids(tx.pages.find_all(parent_page_id=root.id)) == ["b", "c", "a"]
        tx.pages.update("b", parent_page_id="a")
        assert tx.pages.update(root.id, parent_page_id=None, title="Root").title == "Root"
        for page, wrong in (
            ("a", {"parent_page_id": "a"}),
            ("a", {"parent_page_id": "b"}),
            ("a", {"parent_page_id": None}),
            ("a", {"parent_page_id": other.id}),
            ("a", {"initiative_id": "j"}),
            (root.id, {"parent_page_id": "b"}),
        ):
            with pytest.raises(ConflictError):
                tx.pages.update(page, **wrong)
        with pytest.raises(NotFoundError):
            tx.pages.update("a", parent_page_id="nothing")
        for wrong in (None, other.id):
            with pytest.raises(ConflictError), tx.session.begin_nested():
                tx.pages.create(initiative_id="i", parent_page_id=wrong, title="second")
        assert ids(tx.pages.find_all(parent_page_id=root.id)) == ["c", "a"]


def test_ten_processes_make_one_root_page(ledger, place, crowd):
    """All who want the root page at once get the same one."""
    with ledger.write() as tx:
        initiative = tx.initiatives.create(name="i").id
    code = f"with opened().write() as tx: result = tx.pages.get_or_create_root_page({initiative!r}, str(number)).id"
    found = crowd(place, 10, code)
    with ledger.read() as tx:
        assert [found[0]] * 10 == found
        assert ids(tx.pages.find_all()) == found[:1]


def test_proposals_are_listed_in_their_order(still):
    """Proposals of an agent in a status come in their sort order."""
    with still.write() as tx:
        tx.agents.create(id="yak", name="yak", worktree_id="w")
        for name, order, agent in (("c", 1, "owl"), ("b", 1, "owl"), ("a", 2, "owl"), ("d", 0, "owl"), ("x", 0, "yak")):
            tx.proposals.create(
                id=name, agent_id=agent, initiative_id="i", target_type="task", title=name, sort_order=order
            )
        tx.proposals.update("d", status="dismissed")
        assert ids(tx.proposals.find_all(agent_id="owl", status="pending")) == ["b", "c", "a"]


def test_accepting_makes_or_changes(still):
    """What is accepted is carried out and marked together, once; a change leaves what it does not mention."""
    with still.write() as tx:

        def proposed(kind, title, **fields):
            return tx.proposals.create(agent_id="owl", initiative_id="i", target_type=kind, title=title, **fields).id

        phase = proposals.accept(tx, proposed("phase", "Build", content="how", summary="why"))
        assert (phase.name, phase.content, phase.initiative_id) == ("Build", "how", "i")
        task = proposals.accept(tx, proposed("task", "Do", content="so", metadata_={"phase_id": phase.id, "order": 3}))
        assert (task.name, task.description, task.phase_id, task.order) == ("Do", "so", phase.id, 3)
        page = proposals.accept(tx, proposed("page", "Notes", content="text"))
        assert page.parent_page_id == tx.pages.find_root_page("i").id
        renamed = proposals.accept(tx, proposed("page", "Better", target_id=page.id, summary="a better title"))
        assert (renamed.id, renamed.title, renamed.content) == (page.id, "Better", "text")
        changed = proposals.accept(tx, proposed("task", "Do it", target_id=task.id, metadata_={"priority": "high"}))
        assert (changed.name, changed.description, changed.priority) == ("Do it", "so", "high")
        assert proposals.accept(tx, proposed("phase", "Build it", target_id=phase.id)).content == "how"

        once = proposed("task", "Once")
        proposals.accept(tx, once)
        declined = proposed("task", "Never")
        assert proposals.dismiss(tx, declined).status is ProposalStatus.DISMISSED
        for late in (once, declined):
            for act in (proposals.accept, proposals.dismiss):
                with pytest.raises(ConflictError, match="already"):
                    act(tx, late)
        assert len(tx.tasks.find_all(name="Once")) == 1


def test_what_cannot_be_carried_out_stays_pending(still):
    """A proposal whose metadata or target is wrong is refused as a whole, and can still be dismissed."""
    with still.write() as tx:
        wrong = [
            tx.proposals.create(agent_id="owl", initiative_id="i", target_type="task", title="t", **fields).id
            for fields in (
                {"metadata_": {"nonsense": 1}},
                {"metadata_": {"priority": "urgent"}},
                {"metadata_": {"order": "first"}},
                {"target_id": "nothing"},
            )
        ]
    for proposal in wrong:
        with pytest.raises(LedgerError), still.write() as tx:
            proposals.accept(tx, proposal)
    with still.write() as tx:
        assert tx.tasks.find_all() == []
        assert {proposals.dismiss(tx, proposal).status for proposal in wrong} == {ProposalStatus.DISMISSED}


def test_one_of_many_accepts(ledger, place, crowd):
    """Of those who accept a proposal at once one does, and it is carried out once."""
    with ledger.write() as tx:
        owl = tx.agents.create(name="owl", worktree_id="w").id
        initiative = tx.initiatives.create(name="i").id
        proposal = tx.proposals.create(agent_id=owl, initiative_id=initiative, target_type="task", title="t").id
    code = f"""
import time
from tasks_lib.ledger.work import proposals
with opened().write() as tx:
    result = proposals.accept(tx, {proposal!r}).name
    time.sleep(0.3)  # not committed while the others look
"""
    assert sorted(crowd(place, 3, code)) == ["ConflictError", "ConflictError", "t"]
    with ledger.read() as tx:
        assert len(tx.tasks.find_all()) == 1
