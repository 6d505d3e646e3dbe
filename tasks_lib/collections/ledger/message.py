"""Messages between agents and their user; sending does not wait for a reply."""

from __future__ import annotations

from datetime import UTC, datetime
from textwrap import indent
from typing import TYPE_CHECKING, Any

from tasks_lib.collections._arguments import AS_HELP, read_text
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, task
from tasks_lib.collections.views.results import preview
from tasks_lib.collections.views.rows import rows_for_json
from tasks_lib.errors import LedgerError
from tasks_lib.ledger.agents.names import USER
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import format_age
from tasks_lib.workflows.ledger_access import current_agent, ledger_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invoke.context import Context

    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.schema.talk import Message
    from tasks_lib.worktrees.project import Project

_MESSAGE_HELP = "The message's id, or its beginning."


@task(
    help={
        "text": "The message; `-` reads it from standard input.",
        "to": "An agent, by name or id, or `user`; the user when not given.",
        "requires-response": "Ask for a reply.",
        "as": f"{AS_HELP} `user` for yourself.",
    },
    returns="*message*: `{id, content, sender, recipient, type, status, …}`",
)
def send(
    c: Context, text: str, to: str = USER, requires_response: bool = False, as_: str = "", json: bool = False
) -> Answer:
    """
    Leave a message for the user, or for an agent

    This does not wait for a reply; `agent.ask` does.
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"send a message to {to}"])
    ledger, content = ledger_of(project), _content(text)
    with ledger.write() as tx:
        sender = _party("sender", tx, project, as_)
        recipient = _party("recipient", tx, project, to)
        if sender["sender_type"] == recipient["recipient_type"] and sender["sender_id"] == recipient["recipient_id"]:
            raise LedgerError("the sender and the recipient are the same")
        kind = "question" if requires_response else "info"
        sent = tx.messages.create(
            **sender, **recipient, content=content, type=kind, requires_response=requires_response
        )
        [data] = _documents(tx, [sent])
    return Answer(data, f"sent {short_id(sent.id)} to {data['recipient']}")


@task(
    reads=True,
    name="list",
    default=True,
    help={
        "to": "The recipient: an agent, by name or id; the user when not given.",
        "all": "Include read messages.",
    },
    returns="`[message]`",
)
def list_(c: Context, to: str = USER, all: bool = False, json: bool = False) -> Answer:  # noqa: A002 - the flag's name
    """
    List the unread messages
    """
    project = current_project(looks=True)
    with ledger_of(project).read() as tx:
        if to == USER and not all:
            found = tx.messages.find_pending_for_user()
        else:
            found = tx.messages.find_all(
                **_party("recipient", tx, project, to), **({} if all else {"status": "pending"})
            )
        data = _documents(tx, found)
    now = datetime.now(UTC)
    lines = [
        f"{short_id(message.id)}  {row['sender']}, {format_age((now - message.created_at).total_seconds())} ago"
        f"{' (wants a reply)' if message.requires_response and message.status != 'responded' else ''}"
        f"\n{indent(message.content, '  ')}"
        for message, row in zip(found, data, strict=True)
    ]
    return Answer(data, "\n\n".join(lines) or f"no messages for {to}")


@task(help={"message": _MESSAGE_HELP}, returns="*message*: `{id, content, sender, recipient, type, status, …}`")
def read(c: Context, message: str, json: bool = False) -> Answer:
    """
    Print a message, with the replies to it, and mark it as read
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"mark {message} as read"])
    with ledger_of(project).write() as tx:
        found = tx.messages.named(message)
        if found.status == "pending":
            found = tx.messages.update(found.id, status="read")
        [data] = _documents(tx, [found])
        data["replies"] = _documents(tx, tx.messages.find_replies(found.id))
    lines = [
        f"{entry['sender']} to {entry['recipient']}:\n{indent(entry['content'], '  ')}"
        for entry in (data, *data["replies"])
    ]
    return Answer(data, "\n\n".join(lines))


@task(
    help={"message": _MESSAGE_HELP, "text": "The reply; `-` reads it from standard input."},
    returns="*message*: `{id, content, sender, recipient, type, status, …}`",
)
def reply(c: Context, message: str, text: str, json: bool = False) -> Answer:
    """
    Reply to a message as its recipient
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"reply to {message}"])
    ledger, content = ledger_of(project), _content(text)
    with ledger.write() as tx:
        found = tx.messages.named(message)
        sent = tx.messages.create(
            sender_type=found.recipient_type,
            sender_id=found.recipient_id,
            recipient_type=found.sender_type,
            recipient_id=found.sender_id,
            type="response",
            content=content,
            parent_message_id=found.id,
        )
        [data] = _documents(tx, [sent])
    return Answer(data, f"replied to {data['recipient']}")


def _content(text: str) -> str:
    content = read_text(text)
    if not content.strip():
        raise LedgerError("the message is empty")
    return content


def _party(end: str, tx: Transaction, project: Project, name: str) -> dict[str, Any]:
    """Return the fields of the sender or the recipient (*end*) of a message."""
    agent = None if name == USER else current_agent(tx, project, name)
    return {f"{end}_type": "agent" if agent else USER, f"{end}_id": agent and agent.id}


def _documents(tx: Transaction, messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return messages for JSON, with the names of senders and recipients."""
    names = {agent.id: agent.name for agent in tx.agents.find_all()}
    data = rows_for_json(messages)
    for row in data:
        for end in ("sender", "recipient"):
            row[end] = USER if row[f"{end}_type"] == USER else names.get(row[f"{end}_id"], "an agent that is gone")
    return data
