"""Chats that refine a phase or task."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

from tasks_lib.collections._arguments import read_text
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, task
from tasks_lib.collections.views.results import preview
from tasks_lib.collections.views.rows import row_for_json, rows_for_json
from tasks_lib.errors import LedgerError
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import format_table
from tasks_lib.workflows.ledger_access import ledger_of

if TYPE_CHECKING:
    from invoke.context import Context

_CHAT_HELP = "The chat's id, or its beginning."


@task(
    name="open",
    help={
        "phase": "The phase to chat about, by id.",
        "task": "The task to chat about, by id.",
        "as": "The agent in the chat, by name.",
    },
    returns="*chat*: `{id, target_type, target_id, status, …}`",
)
def open_(c: Context, phase: str = "", task: str = "", as_: str = "", json: bool = False) -> Answer:
    """
    Open a chat about a phase or task, or find the open one
    """
    project = current_project()
    if bool(phase) == bool(task):
        raise LedgerError("pass either --phase ID or --task ID", why="a chat is about one phase or one task")
    if c.config.run.dry:
        return preview([f"open a chat about {phase or task}"])
    from tasks_lib.ledger.schema.talk import ChatTarget

    with ledger_of(project).write() as tx:
        kind = ChatTarget.PHASE if phase else ChatTarget.TASK
        target = tx.phases.named(phase) if phase else tx.tasks.named(task)
        agent_id = tx.agents.named(as_).id if as_ else None
        if target.initiative_id is None:
            raise LedgerError(f"task `{target.id}` has no initiative", why="every chat belongs to an initiative")
        chat = tx.chat_sessions.find_active_session(kind, target.id) or tx.chat_sessions.create_session(
            target_type=kind, target_id=target.id, initiative_id=target.initiative_id, agent_id=agent_id
        )
    return Answer(row_for_json(chat), f"chat {short_id(chat.id)} about {kind} {target.name}")


@task(
    help={
        "chat": _CHAT_HELP,
        "text": "The text; `-` reads standard input.",
        "role": "The speaker: user, assistant (the agent) or system.",
    },
    returns="`{id, chat_session_id, role, content, …}`",
)
def say(c: Context, chat: str, text: str, role: str = "user", json: bool = False) -> Answer:
    """
    Add a message to an open chat
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"add a message to chat {chat}"])
    from tasks_lib.ledger.schema.talk import ChatRole

    if role not in [*ChatRole]:
        raise LedgerError(f"`{role}` is not a role in a chat", why=f"one of: {', '.join(ChatRole)}")
    ledger, content = ledger_of(project), read_text(text)
    with ledger.write() as tx:
        found = tx.chat_sessions.named(chat)
        said = tx.chat_sessions.create_message(chat_session_id=found.id, role=ChatRole(role), content=content)
    return Answer(row_for_json(said), f"added to chat {short_id(found.id)}")


@task(reads=True, help={"chat": _CHAT_HELP}, returns="*chat* and `{messages: […]}`")
def show(c: Context, chat: str, json: bool = False) -> Answer:
    """
    Print the messages of a chat
    """
    project = current_project(looks=True)
    with ledger_of(project).read() as tx:
        found = tx.chat_sessions.named(chat)
        messages = tx.chat_sessions.find_messages_by_session_id(found.id)
    data = {**row_for_json(found), "messages": rows_for_json(messages)}
    return Answer(
        data,
        "\n\n".join(f"{message.role}:\n{indent(message.content, '  ')}" for message in messages) or "no messages yet",
    )


@task(
    reads=True,
    name="list",
    default=True,
    help={"status": "Only chats with this status: active or closed."},
    returns="`[chat]`",
)
def list_(c: Context, status: str = "", json: bool = False) -> Answer:
    """
    List the chats
    """
    project = current_project(looks=True)
    with ledger_of(project).read() as tx:
        found = tx.chat_sessions.find_all(**({"status": status} if status else {}))
    rows = [(short_id(chat.id), chat.status, chat.target_type, short_id(chat.target_id)) for chat in found]
    return Answer(rows_for_json(found), format_table(("ID", "STATUS", "ABOUT", "WHICH"), rows) if rows else "no chats")


@task(help={"chat": _CHAT_HELP}, returns="*chat*: `{id, target_type, target_id, status, …}`")
def close(c: Context, chat: str, json: bool = False) -> Answer:
    """
    Close a chat for good; its messages stay
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"close chat {chat}"])
    from tasks_lib.ledger.schema.talk import ChatStatus

    with ledger_of(project).write() as tx:
        closed = tx.chat_sessions.update_session(tx.chat_sessions.named(chat).id, status=ChatStatus.CLOSED)
    return Answer(row_for_json(closed), f"closed chat {short_id(closed.id)}")
