"""Deletion: every cascade of the schema, and the deletions that are refused."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tasks_lib.errors import ConflictError
from tasks_lib.ledger.schema import Base
from tasks_lib.ledger.schema.talk import ChatTarget
from tasks_lib.ledger.work.deletion import delete_phase, delete_task

# Of each table there are two rows; what refers names the first, `TABLE-2` is below `TABLE-1`.
WORK = {"phase_dependencies", "task_dependencies"}
MATRIX = {
    "initiatives": (
        {"phases", "tasks", "pages", "proposals", "initiative_projects", "chat_sessions", "change_sets"}
        | {*WORK, "review_comments", "chat_messages"},
        {"agents.initiative_id", "agents.task_id"}
        | {"conversations.initiative_id", "conversations.phase_id", "conversations.task_id"},
    ),
    "phases": (
        {*WORK, "tasks", "review_comments"},
        {"agents.task_id", "conversations.phase_id", "conversations.task_id"},
    ),
    "tasks": ({"tasks", "task_dependencies"}, {"agents.task_id", "conversations.task_id"}),
    "agents": (
        {"proposals", "conversations"},
        {"errands.agent_id", "chat_sessions.agent_id", "change_sets.agent_id"}
        | {"messages.sender_id", "messages.recipient_id"},
    ),
    "accounts": (set(), {"agents.account_id"}),
    "projects": ({"initiative_projects", "errands"}, set()),
    "pages": ({"pages"}, set()),
    "messages": (set(), {"messages.parent_message_id"}),
    "chat_sessions": ({"chat_messages"}, set()),
    "change_sets": (set(), {"chat_messages.change_set_id"}),
    "proposals": (set(), set()),
    "conversations": (set(), set()),
    "errands": (set(), set()),
    "review_comments": (set(), set()),
    "agent_log_chunks": (set(), set()),
    "chat_messages": (set(), set()),
}


def rows(session):
    """Return all rows by table and key."""
    return {
        (table.name, *row[: len(table.primary_key)]): dict(row._mapping)
        for table in Base.metadata.sorted_tables
        for row in session.execute(sa.select(*table.primary_key, *(c for c in table.c if not c.primary_key)))
    }


def test_deletions_cascade_as_declared(ledger, fill):
    """Each deletion takes what belongs to it, takes the name out of what outlives it, and leaves all else as it was."""
    with ledger.write() as tx:
        fill(tx.session.connection())
        before = rows(tx.session)
        for table, (gone, nulled) in MATRIX.items():
            savepoint = tx.session.begin_nested()
            if repository := getattr(tx, "log_chunks" if table == "agent_log_chunks" else table, None):
                repository.delete(f"{table}-1")
            else:
                tx.session.execute(sa.text(f"DELETE FROM {table} WHERE id = '{table}-1'"))
            after = rows(tx.session)
            savepoint.rollback()
            changed = {
                f"{key[0]}.{name}": value
                for key, row in after.items()
                for name, value in row.items()
                if value != before[key][name]
            }
            lost = before.keys() - after.keys() - {(table, f"{table}-1")}
            assert ({key[0] for key in lost}, changed) == (gone, dict.fromkeys(nulled)), table


@pytest.fixture
def work(sqlite_ledger):
    """Give a ledger with two phases: in the first a task, with a part, which one in the second waits for."""
    with sqlite_ledger.write() as tx:
        initiative = tx.initiatives.create(name="i").id
        for phase in ("first", "second"):
            tx.phases.create(id=phase, name=phase, initiative_id=initiative, status="approved")
        tx.tasks.create(id="whole", name="whole", phase_id="first")
        tx.tasks.create(id="part", name="part", parent_task_id="whole")
        tx.tasks.create(id="later", name="later", phase_id="second")
        tx.tasks.create_dependency("later", "part")
        for kind, target in ((ChatTarget.TASK, "part"), (ChatTarget.TASK, "later"), (ChatTarget.PHASE, "first")):
            tx.chat_sessions.create_session(target_type=kind, target_id=target, initiative_id=initiative)
    return sqlite_ledger


def chats(tx):
    """Return about what a chat still goes on."""
    return {chat.target_id for chat in tx.chat_sessions.find_all(status="active")}


def test_deleting_what_others_wait_for(work):
    """A task that others wait for, itself or with a part, only goes by force; then one learns what is ready by that."""
    with work.write() as tx:
        with pytest.raises(ConflictError, match="others wait for it: later") as caught:
            delete_task(tx, "whole")
        assert caught.value.hint == "inv task.delete whole --force"
        assert [task.id for task in delete_task(tx, "whole", force=True)] == ["later"]
        assert {task.id for task in tx.tasks.find_all()} == {"later"}
        assert chats(tx) == {"later", "first"}


def test_deleting_what_is_finished_or_held(work):
    """A finished task is deleted without --force; a task in progress is not."""
    with work.write() as tx:
        tx.tasks.update("part", status="in_progress")
        with pytest.raises(ConflictError, match="`part` is in progress"):
            delete_task(tx, "whole")
        tx.tasks.update("part", status="completed")
        assert delete_task(tx, "whole") == []


def test_deleting_a_phase_deletes_tasks(work):
    """A phase goes with its tasks and all their parts, on the same terms as they; chats about them are closed."""
    with work.write() as tx:
        with pytest.raises(ConflictError, match="phase `first` is not finished, and others wait for it: later"):
            delete_phase(tx, "first")
        tx.tasks.update("part", status="completed")
        tx.phases.create_dependency("second", "first")
        with pytest.raises(ConflictError, match="others wait for it: second"):
            delete_phase(tx, "first")
        assert [task.id for task in delete_phase(tx, "first", force=True)] == ["later"]
        assert chats(tx) == {"later"}
        assert [phase.id for phase in tx.phases.find_all()] == ["second"]
