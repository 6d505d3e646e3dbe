"""Review comments and errands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks_lib.errors import ConflictError, LedgerError, NotFoundError

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ACTIVE, PENDING_REVIEW, CONFLICT, MERGED, ABANDONED = (
    "active",
    "pending_review",
    "conflict",
    "merged",
    "abandoned",
)
MOVES = {
    ACTIVE: {PENDING_REVIEW, ABANDONED},
    PENDING_REVIEW: {MERGED, CONFLICT, ABANDONED},
    CONFLICT: {PENDING_REVIEW, ABANDONED},
    MERGED: set(),
    ABANDONED: set(),
}


def ids(rows):
    return [row.id for row in rows]


def test_review_comments_resolve_and_reopen(ledger):
    """Comments stand in a diff by file and line; resolving twice changes nothing, and can be taken back."""
    with replace(ledger, clock=lambda: NOON).write() as tx:
        initiative = tx.initiatives.create(name="i").id
        phase = tx.phases.create(name="p", initiative_id=initiative).id
        for name, file, line in (("d", "b.py", 1), ("c", "a.py", 10), ("b", "a.py", 9), ("a", "a.py", 10)):
            comment = tx.review_comments.create(
                id=name, phase_id=phase, file_path=file, line_number=line, line_type="added", body=name
            )
        assert ids(tx.review_comments.find_by_phase_id(phase)) == ["b", "a", "c", "d"]
        assert (comment.author, comment.resolved) == ("you", False)
        for _ in range(2):
            assert tx.review_comments.resolve("a").resolved is True
        assert tx.review_comments.unresolve("a").resolved is False
        with pytest.raises(NotFoundError) as caught:
            tx.review_comments.resolve("nothing")
        assert caught.value.hint == "inv review.list PHASE"
        for wrong in ({"line_number": 0}, {"phase_id": "nothing"}):
            fields = {"phase_id": phase, "file_path": "f", "line_number": 1, "line_type": "added", "body": "b"}
            with pytest.raises(ConflictError), tx.session.begin_nested():
                tx.review_comments.create(**fields | wrong)


def test_errands_are_listed_newest_first(ledger):
    """The newest comes first, of the same moment the greater id; each knows its agent's name, or that it has none."""
    with replace(ledger, clock=lambda: NOON).write() as tx:
        owl = tx.agents.create(name="owl", worktree_id="w").id
        project = tx.projects.create(name="p", url="u").id
        for name in ("b", "c", "a"):
            errand = tx.errands.create(id=name, description="d", branch=f"errand/{name}", agent_id=owl)
            assert (errand.agent_alias, errand.base_branch, errand.status) == ("owl", "main", ACTIVE)
        old = tx.errands.create(
            id="z", description="é" * 200, branch="z", project_id=project, created_at=NOON - timedelta(days=1)
        )
        assert old.agent_alias is None
        assert ids(tx.errands.find_all()) == ["c", "b", "a", "z"]
        assert ids(tx.errands.find_all(project_id=project, status=ACTIVE)) == ["z"]
        assert tx.errands.find_all(project_id=project, status=MERGED) == []
        assert tx.errands.update("z", agent_id=owl).agent_alias == "owl"
        tx.agents.update(owl, name="yak")
        assert {errand.agent_alias for errand in tx.errands.find_all()} == {"yak"}
        tx.agents.delete(owl)
        assert {(errand.agent_id, errand.agent_alias) for errand in tx.errands.find_all()} == {(None, None)}
        assert tx.errands.find_by_id("a").agent_alias is None
        tx.errands.delete("a")
        for wrong in ("", "é" * 201):
            with pytest.raises(ConflictError, match="refuses this errand"), tx.session.begin_nested():
                tx.errands.create(id="w", description=wrong, branch="b")
        with pytest.raises(LedgerError, match="`done` is not a status"):
            tx.errands.update("b", status="done")


def test_errands_move_between_allowed_statuses(ledger):
    """An errand moves between these states and no others; a finished one is not changed at all."""
    with ledger.write() as tx:
        for old, allowed in MOVES.items():
            for new in MOVES:
                errand = tx.errands.create(id=f"{old}-{new}", description="d", branch="b", status=old)
                if new in allowed or (new == old and allowed):
                    assert tx.errands.update(errand.id, status=new, base_branch="next").status == new
                else:
                    with pytest.raises(ConflictError, match=f"is {old} and cannot"):
                        tx.errands.update(errand.id, status=new)
            if not allowed:
                with pytest.raises(ConflictError, match="cannot be changed"):
                    tx.errands.update(errand.id, base_branch="next")
