"""The agents in the worktrees: what each works on, questions and answers."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from textwrap import indent
from typing import TYPE_CHECKING, Any

from tasks_lib import output
from tasks_lib.collections._arguments import AS_HELP, interruptible, positive_int, read_text, standard_input
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, OptionalPositional, task
from tasks_lib.collections.views.results import preview
from tasks_lib.collections.views.rows import row_for_json, rows_for_json
from tasks_lib.errors import ConflictError, GoldentreeError
from tasks_lib.escaping import COLOUR
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import Narrator, format_age, format_pairs, format_table
from tasks_lib.program_name import name_program
from tasks_lib.workflows.ledger_access import branches, current_agent, ledger_of, worktree_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invoke.context import Context

    from tasks_lib.ledger.ledger import Ledger, Transaction
    from tasks_lib.ledger.schema.talk import Conversation

_TIMEOUT_HELP = "How long to wait: 90s, 15m, 2h; without it, until the answer comes. Exit status 5 on timeout."
_CONVERSATION_HELP = "The conversation's id, or its beginning."


@task(
    klass=OptionalPositional,
    help={
        "name": "The agent's name; random when not given. An existing agent of that name is registered again.",
        "pid": "The agent's process; when it ends, others can claim its task. In a script `--pid $$`; where each"
        " command runs in its own shell, as with coding agents, `--pid $PPID`.",
        "provider": "The agent's provider; `claude` when not given.",
        "mode": "The kind of work it does: execute, discuss, plan, detail or refine.",
        "session": "The id of the agent's own session, to resume it.",
        "account": "The account that it uses: address or id.",
    },
    returns="*agent*: `{id, name, status, worktree_id, pid, …}`",
)
def register(
    c: Context,
    name: str = "",
    pid: str = "",
    provider: str = "",
    mode: str = "",
    session: str = "",
    account: str = "",
    json: bool = False,
) -> Answer:
    """
    Register an agent of this worktree

    Do it once before you claim tasks, ask or listen, and again after `agent.stop`.
    Without --pid, the death of the agent's process goes unnoticed.
    """
    from tasks_lib.ledger.agents.registration import register as registering

    project = current_project()
    home = worktree_id(project)
    if c.config.run.dry:
        return preview([f"register {name or 'an agent'} in {project.repository.current}"])
    fields = {key: value for key, value in (("provider", provider), ("mode", mode), ("session_id", session)) if value}
    with ledger_of(project).write() as tx:
        if account:
            fields["account_id"] = tx.accounts.named(account).id
        agent = registering(tx, home, name=name or None, pid=positive_int(pid, "--pid"), **fields)
    return Answer(row_for_json(agent), format_pairs([("agent", agent.name), ("id", agent.id)]))


@task(
    reads=True,
    name="list",
    default=True,
    help={"all": "Include stopped and crashed agents."},
    returns="`[agent and {lost, branch, task}]`",
)
def list_(c: Context, all: bool = False, json: bool = False) -> Answer:  # noqa: A002 - the flag's name
    """
    List the agents: status, worktree, task, when last seen

    The process of a `lost` agent has died: the next `task.claim` frees its task.
    """
    from tasks_lib.ledger.agents.liveness import describe_status
    from tasks_lib.ledger.schema.agents import GONE, HOLDING

    project = current_project(looks=True)
    homes = branches(project)
    with ledger_of(project).read() as tx:
        found = [agent for agent in tx.agents.find_all() if all or agent.status not in GONE]
        tasks = {agent.id: tx.tasks.find_by_id(agent.task_id) for agent in found if agent.task_id}
    data, rows, now = rows_for_json(found), [], datetime.now(UTC)
    for agent, row in zip(found, data, strict=True):
        held = tasks.get(agent.id)
        row |= {
            "lost": describe_status(agent) == "lost",
            "branch": homes.get(agent.worktree_id),
            "task": held.name if held else None,
        }
        rows.append(
            (
                agent.name,
                describe_status(agent),
                homes.get(agent.worktree_id, agent.worktree_id),
                f"{short_id(held.id)} {held.name}" if held and agent.status in HOLDING else "-",
                f"{format_age((now - agent.updated_at).total_seconds())} ago",
            )
        )
    if not rows:
        return Answer(data, name_program("no agents; register one with inv agent.register"))
    return Answer(data, format_table(("NAME", "STATUS", "WORKTREE", "TASK", "SEEN"), rows, spare=("SEEN", "WORKTREE")))


@task(
    help={
        "question": "The question; `-` reads it from standard input.",
        "agent": "The agent to ask, by name or id.",
        "task": "Ask the agent that works on this task, or did so last.",
        "phase": "Ask the agent that works on a task of this phase, or did so last.",
        "timeout": _TIMEOUT_HELP,
        "as": AS_HELP,
    },
    returns="*conversation*: `{id, question, answer, status, from_agent, to_agent, task_id, phase_id, …}`",
)
def ask(
    c: Context,
    question: str,
    agent: str = "",
    task: str = "",
    phase: str = "",
    timeout: str = "",
    as_: str = "",
    json: bool = False,
) -> Answer:
    """
    Ask another agent, wait for the answer, print it

    Prints only the answer on stdout; the conversation's id is on stderr at once.
    Exit status 4 when no agent can answer, now or while you wait: the error lists
    the agents that can. After a timeout or Ctrl-C, continue with `inv agent.wait`.
    """
    from tasks_lib.ledger.agents import conversations

    project, seconds = current_project(), _seconds(timeout)
    if c.config.run.dry:
        return preview([f"ask {agent or task or phase}, and wait"])
    ledger, text = ledger_of(project), read_text(question)
    with ledger.write() as tx:
        me = current_agent(tx, project, as_)
        asked = conversations.ask(
            tx,
            me.id,
            text,
            agent_id=tx.agents.named(agent).id if agent else None,
            task_id=tx.tasks.named(task).id if task else None,
            phase_id=tx.phases.named(phase).id if phase else None,
        )
        tx.agents.update(me.id)  # sets when it was last seen
        whom = tx.agents.require(asked.to_agent_id).name
        waiting = tx.conversations.find_pending_for_agent(me.id)
    said = [f"asked {whom}, conversation {asked.id}"]
    if waiting:
        said.append("note: a question waits for your answer: inv agent.listen")
    return _awaited(ledger, asked.id, seconds, said)


@task(
    reads=True,
    help={"conversation": _CONVERSATION_HELP, "timeout": _TIMEOUT_HELP},
    returns="*conversation*: `{id, question, answer, status, from_agent, to_agent, task_id, phase_id, …}`",
)
def wait(c: Context, conversation: str, timeout: str = "", json: bool = False) -> Answer:
    """
    Wait for the answer to an earlier question, print it

    Use it when `agent.ask` was interrupted or timed out. Returns at once if the
    question is answered already. Exit statuses are those of `agent.ask`.
    """
    project, seconds = current_project(), _seconds(timeout)
    ledger = ledger_of(project)
    with ledger.read() as tx:
        found = tx.conversations.named(conversation)
    return _awaited(ledger, found.id, seconds)


@task(help={"timeout": _TIMEOUT_HELP, "as": AS_HELP}, returns="`[conversation]`: the questions without an answer")
def listen(c: Context, timeout: str = "", as_: str = "", json: bool = False) -> Answer:
    """
    Wait for questions to you, print them

    Returns at once if questions are waiting; each is printed again until it is
    answered. With --json a timeout is the error document `timed-out`.
    """
    from tasks_lib.ledger.agents import conversations

    project, seconds = current_project(), _seconds(timeout)
    if c.config.run.dry:
        return preview(["wait for questions"])
    ledger = ledger_of(project)
    with ledger.write() as tx:
        me = current_agent(tx, project, as_)
        tx.agents.update(me.id)  # sets when it was last seen
    waiting = Narrator().quietly(f"listen for questions to {me.name}")
    with interruptible("questions stay until they are answered", "inv agent.listen"), waiting:
        found = conversations.listen(ledger, me.id, seconds)
    with ledger.read() as tx:
        data = [_document(tx, question) for question in found]
    lines = [
        f"{short_id(question['id'])}  {question['from_agent']} asks{_about(question)}:\n"
        f"{indent(question['question'], '  ')}\n"
        + name_program(f"to answer: inv agent.answer {short_id(question['id'])} TEXT")
        for question in data
    ]
    return Answer(data, "\n\n".join(lines))


@task(
    help={
        "conversation": _CONVERSATION_HELP,
        "text": "The answer; `-` reads it from standard input.",
        "as": "Which agent you are; refused if another agent was asked. Without it, anyone may answer.",
    },
    returns="*conversation*: `{id, question, answer, status, from_agent, to_agent, task_id, phase_id, …}`",
)
def answer(c: Context, conversation: str, text: str, as_: str = "", json: bool = False) -> Answer:
    """
    Answer a question

    The waiting agent gets it at once. A second answer is refused, and the error
    shows the first.
    """
    from tasks_lib.ledger.agents import conversations

    project = current_project()
    if c.config.run.dry:
        return preview([f"answer {conversation}"])
    ledger, said = ledger_of(project), read_text(text)
    with ledger.write() as tx:
        found = tx.conversations.named(conversation)
        asked = tx.agents.require(found.to_agent_id)
        if as_ and tx.agents.named(as_).id != asked.id:
            raise ConflictError(
                f"`{asked.name}` was asked, not `{as_}`", hint="answer on its behalf by leaving out --as"
            )
        data = _document(tx, conversations.answer(tx, found.id, said))
    return Answer(data, f"answered {data['from_agent']}")


@task(
    klass=OptionalPositional,
    help={"name": "The agent, by name or id; the one of this worktree when not given."},
    returns="*agent*: `{id, name, status, worktree_id, pid, …}`",
)
def stop(c: Context, name: str = "", json: bool = False) -> Answer:
    """
    Mark an agent as stopped, because it ends or is gone

    No process is stopped. The next claim puts its task back into the queue;
    agents that wait for its answer get an error.
    """
    from tasks_lib.ledger.agents.registration import stop as stopping

    project = current_project()
    if c.config.run.dry:
        return preview([f"mark {name or 'the agent of this worktree'} as stopped"])
    with ledger_of(project).write() as tx:
        agent = stopping(tx, current_agent(tx, project, name).id)
    return Answer(row_for_json(agent), f"stopped {agent.name}")


@task(
    help={
        "session": "The number of the session to append to; a new one when not given.",
        "as": AS_HELP,
    },
    returns="`{agent, session, chunks}`",
)
def log(c: Context, session: str = "", as_: str = "", json: bool = False) -> Answer:
    """
    Store standard input as an agent's log

    Meant for `agent 2>&1 | inv agent.log`: output is stored as it arrives. In a
    pipe, Ctrl-C is left to the agent, and this command ends with it.
    """
    from tasks_lib.ledger.agents import logs

    project = current_project()
    if c.config.run.dry:
        return preview(["store standard input as a log"])
    ledger, source = ledger_of(project), standard_input()
    with ledger.read() as tx:
        agent = current_agent(tx, project, as_)
        session_number = positive_int(session, "--session") or tx.log_chunks.get_session_count(agent.id) + 1
    if not source.isatty():
        # A terminal sends Ctrl-C to the whole pipeline, and many agents treat it as an ordinary key.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible("the output so far is stored"):
        count = sum(1 for _ in logs.append(ledger, agent, session_number, source.fileno()))
    data = {"agent": agent.name, "session": session_number, "chunks": count}
    return Answer(data, f"session {session_number} of {agent.name}: stored {count} piece{'' if count == 1 else 's'}")


@task(
    reads=True,
    help={
        "name": "The agent, by name or id; a deleted agent by its full id.",
        "session": "Only this session.",
        "follow": "Keep printing new output until Ctrl-C; not with --json.",
    },
    returns="`[{agent_id, agent_name, session_number, content, created_at}]`",
)
def logs(c: Context, name: str, session: str = "", follow: bool = False, json: bool = False) -> Answer:
    """
    Print an agent's output, as `agent.log` stored it

    The oldest session first; nothing is added to the output. Colours are left out,
    and other control characters are escaped; --json has both.
    """
    from tasks_lib.errors import NotFoundError
    from tasks_lib.ledger.agents import logs as kept

    project = current_project(looks=not follow)  # a copy of the ledger would not grow
    if follow and json:
        raise GoldentreeError(
            "--follow and --json cannot be combined", why="--json prints one document, and --follow never ends"
        )
    ledger = ledger_of(project)
    with ledger.read() as tx:
        try:
            whose = tx.agents.named(name).id
        except NotFoundError:
            if not tx.log_chunks.get_session_count(name):
                raise
            whose = name
    chunks = kept.read(ledger, whose, positive_int(session, "--session"), follow=follow)
    if json:
        return Answer(rows_for_json(chunks), "")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that the end of the reader (`| head`) ends this command too
    with interruptible("the output is still being stored", f"inv agent.logs {name} --follow"):
        for chunk in chunks:
            # Programs colour what they print, and the escapes of so many colours could not be read.
            output.print_answer(COLOUR.sub("", chunk.content), end="")
    return Answer(None, "")


def _awaited(ledger: Ledger, conversation_id: str, timeout: float | None, said: Sequence[str] = ()) -> Answer:
    from tasks_lib.ledger.agents import conversations

    with interruptible("the question stays", f"inv agent.wait {conversation_id}"):
        for line in said:
            Narrator().say(line)
        found = conversations.wait(ledger, conversation_id, timeout)
    with ledger.read() as tx:
        return Answer(_document(tx, found), found.answer or "")


def _document(tx: Transaction, conversation: Conversation) -> dict[str, Any]:
    [data] = rows_for_json([conversation])
    for end in ("from_agent", "to_agent"):
        agent = tx.agents.find_by_id(data[f"{end}_id"])
        data[end] = agent and agent.name
    return data


def _about(question: dict[str, Any]) -> str:
    named = [
        f" about {what} {short_id(question[f'{what}_id'])}" for what in ("task", "phase") if question[f"{what}_id"]
    ]
    return named[0] if named else ""


def _seconds(timeout: str) -> float | None:
    from tasks_lib.settings.values import Origin, parse_duration

    return parse_duration(Origin(timeout, "--timeout"), "it").total_seconds() if timeout else None
