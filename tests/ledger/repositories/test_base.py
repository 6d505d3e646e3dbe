"""What all repositories do alike: make, find, change, delete."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tasks_lib.errors import ConflictError, LedgerError, NotFoundError
from tasks_lib.ledger.schema import Base, document
from tasks_lib.ledger.schema.work import Priority, TaskStatus

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)


def test_created_rows_can_be_found(ledger):
    """A row gets an id and its moments, and is read back as it was made; nothing is found under another id."""
    with replace(ledger, clock=lambda: NOON).write() as tx:
        made = tx.tasks.create(name="a", priority="high", description="Ünï\n'\"%s;--\x01")
    with ledger.read() as tx:
        found = tx.tasks.require(made.id)
        assert found == made
        assert found is not made
        assert (found.created_at, found.updated_at) == (NOON, NOON)
        assert (found.priority, found.status) == (Priority.HIGH, TaskStatus.PENDING)
        assert document(found)["created_at"] == "2026-01-02T12:00:00.123456+00:00"
        assert len(made.id) == 21
        assert made.id.isalnum()
        assert made.id == made.id.lower()
        assert tx.tasks.find_by_id("nothing") is None
        with pytest.raises(NotFoundError, match="task `nothing` does not exist") as caught:
            tx.tasks.require("nothing")
        assert caught.value.hint == "inv task.list"


def test_find_all_filters_by_fields(ledger):
    """Lists are by moment, and by id within one; conditions go together, None means NULL."""
    with replace(ledger, clock=lambda: NOON).write() as tx:
        for name, branch in (("b", None), ("a", "x"), ("c", None)):
            tx.initiatives.create(id=name, name="same", branch=branch)
        tx.initiatives.create(id="0", name="first", created_at=NOON - timedelta(seconds=1))

        def ids(**equals):
            return [initiative.id for initiative in tx.initiatives.find_all(**equals)]

        assert ids() == ["0", "a", "b", "c"]
        assert ids(branch=None) == ["0", "b", "c"]
        assert ids(branch=None, name="same", status="active") == ["b", "c"]
        assert ids(status="archived") == []


def test_update_changes_only_given_fields(ledger):
    """Only what is given changes; None sets NULL; when it was changed is noted, when it was made stays."""
    with replace(ledger, clock=lambda: NOON).write() as tx:
        made = tx.tasks.create(name="a", description="d", summary="s")
    with ledger.write() as tx:
        held = tx.tasks.require(made.id)
        changed = tx.tasks.update(made.id, description=None, status="blocked")
        assert held.status is TaskStatus.BLOCKED
    with ledger.read() as tx:
        found = tx.tasks.require(made.id)
        assert found == changed
        assert (found.name, found.description, found.summary, found.status) == ("a", None, "s", "blocked")
        assert found.created_at == NOON < found.updated_at
    with pytest.raises(NotFoundError), ledger.write() as tx:
        tx.tasks.update("nothing", name="b")


def test_delete_removes_a_row_once(ledger):
    """A row goes once; the second time is an error; nothing of it is found any more in the same transaction."""
    with ledger.write() as tx:
        initiative = tx.initiatives.create(name="i")
        phase = tx.phases.create(name="p", initiative_id=initiative.id)
        tx.initiatives.delete(initiative.id)
        assert (tx.initiatives.find_all(), tx.phases.find_by_id(phase.id)) == ([], None)
        with pytest.raises(NotFoundError):
            tx.initiatives.delete(initiative.id)
        with pytest.raises(NotFoundError):
            tx.tasks.create(name="t", phase_id=phase.id)
        with pytest.raises(NotFoundError):
            tx.pages.get_or_create_root_page(initiative.id)


def test_fields_that_are_none(ledger):
    """Fields that do not exist, or are not given by hand, are mistakes of the caller."""
    with ledger.write() as tx:
        task = tx.tasks.create(name="a")
        errand = tx.errands.create(id="e", description="d", branch="b")
        for call in (
            lambda: tx.tasks.create(name="a", nonsense=1),
            lambda: tx.tasks.create(description="no name"),
            lambda: tx.tasks.update(task.id, nonsense=1),
            lambda: tx.tasks.update(task.id, id="other"),
            lambda: tx.tasks.update(task.id, created_at=NOON),
            lambda: tx.tasks.update(task.id, updated_at=NOON),
            lambda: tx.tasks.find_all(nonsense=1),
            lambda: tx.errands.create(id="f", description="d", branch="b", agent_alias="owl"),
            lambda: tx.errands.update(errand.id, agent_alias="owl"),
            lambda: tx.errands.create(description="d", branch="b"),
        ):
            with pytest.raises(TypeError):
                call()
        assert tx.tasks.find_all() == [task]


def test_values_that_do_not_fit(ledger):
    """Invalid values are refused on both engines; the error names the field and lists the allowed values."""
    with ledger.write() as tx:
        task = tx.tasks.create(name="a")
        with pytest.raises(LedgerError, match="`urgent` is not a priority of a task") as caught:
            tx.tasks.update(task.id, priority="urgent")
        assert caught.value.why == "one of: low, medium, high"
        for wrong in ({"order": "first"}, {"name": 5}, {"name": ["a"]}, {"description": {}}):
            with pytest.raises(LedgerError, match=next(iter(wrong))):
                tx.tasks.update(task.id, **wrong)
        with pytest.raises(LedgerError, match="is not a status of a task"):
            tx.tasks.find_all(status="open")
        assert tx.tasks.find_all() == [task]
    for refused in ({"name": None}, {"status": None}):
        with pytest.raises(ConflictError, match="the ledger refuses this task") as caught, ledger.write() as tx:
            tx.tasks.update(task.id, **refused)
        assert next(iter(refused)) in caught.value.why
    with pytest.raises(ConflictError), ledger.write() as tx:
        tx.phases.create(name="p", initiative_id="nothing")


def test_moments_keep_their_place_in_time(ledger):
    """Moments of any time zone come back as the same moment in UTC, to the microsecond, before 1970 as well."""
    moments = [
        datetime(2026, 7, 1, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ]
    with ledger.write() as tx:
        for moment in moments:
            tx.agents.create(name=str(moment), worktree_id="w", user_dismissed_at=moment)
    with ledger.read() as tx:
        found = [tx.agents.named(str(moment)).user_dismissed_at for moment in moments]
    assert found == moments
    assert {moment.tzinfo for moment in found} == {UTC}


def test_named_accepts_beginnings_of_ids(ledger):
    """A row is named by its id, or by four characters or more of its beginning that no other has; never by patterns."""
    with ledger.write() as tx:
        for name in ("abcd1", "abcd2", "abcdef", "a_cdxy", "abcd"):
            tx.tasks.create(id=name, name=name)
        assert tx.tasks.named("abcde").id == "abcdef"
        assert tx.tasks.named("abcd2").id == "abcd2"
        assert tx.tasks.named("abcd").id == "abcd"
        assert tx.tasks.named("a_cd").id == "a_cdxy"
        tx.tasks.delete("abcd")
        with pytest.raises(ConflictError, match="several tasks begin with `abcd`"):
            tx.tasks.named("abcd")
        for nothing in ("abc", "", "%", "%bcde", "____", "abcd%", "ABCDE", "bcde", "/%%%%", "abcd1x", "'; --"):
            with pytest.raises(NotFoundError):
                tx.tasks.named(nothing)


def test_every_table_is_reached(ledger, fill):
    """Rows of every table come out as they went in, also as a document for JSON, on both engines."""
    import json

    with ledger.write() as tx:
        fill(tx.session.connection())
    with ledger.read() as tx:
        repositories = [repository for repository in vars(tx).values() if hasattr(repository, "find_all")]
        assert len(repositories) == 14
        for repository in repositories:
            rows = repository.find_all()
            assert len(rows) == 2
            for row in rows:
                assert isinstance(row, Base)
                assert repository.named(row.id) == row
                written = json.loads(json.dumps(document(row)))
                assert written["id"] == row.id
        account = document(tx.accounts.find_all()[0])
        assert (account["credentials"], account["config_json"]) == (True, True)


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "a\x1b[2Jb", "a\0b"])
def test_names_are_one_line(sqlite_ledger, name):
    """What lists and trees show cannot be empty, nor move a terminal's cursor."""
    with (
        pytest.raises(LedgerError, match=r"the name of a task (is empty|must be a single line)"),
        sqlite_ledger.write() as tx,
    ):
        tx.tasks.create(name=name)


def test_a_nul_is_no_text(ledger):
    """PostgreSQL cannot keep it, so no ledger does: one can be taken to the other."""
    with pytest.raises(LedgerError, match="the description of a task contains a NUL"), ledger.write() as tx:
        tx.tasks.create(name="a", description="b\0c")
