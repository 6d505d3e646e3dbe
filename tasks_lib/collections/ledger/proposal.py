"""Changes that agents propose, and that you accept or dismiss."""

from __future__ import annotations

from json import JSONDecodeError, loads
from typing import TYPE_CHECKING, Any

from tasks_lib.collections._arguments import AS_HELP, read_text
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, task
from tasks_lib.collections.views.results import preview
from tasks_lib.collections.views.rows import row_for_json, rows_for_json
from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import format_table
from tasks_lib.workflows.ledger_access import current_agent, ledger_of

if TYPE_CHECKING:
    from invoke.context import Context

    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.schema.documents import Page
    from tasks_lib.ledger.schema.work import Phase, Task

_IDS_HELP = "The proposals' ids or their beginnings, separated by commas."


@task(
    help={
        "title": "The new title of the page, phase or task.",
        "initiative": "The initiative's id, or its beginning.",
        "type": "The kind of target: page, phase or task.",
        "target": "The target to change; a new one is created when not given.",
        "summary": "The reason, in a sentence.",
        "content": "The page's or phase's content, or the task's description; `-` reads standard input.",
        "metadata": 'More fields of the target, as a JSON object: {"priority": "high"}.',
        "as": AS_HELP,
    },
    returns="*proposal*: `{id, target_type, target_id, title, status, …}`",
)
def add(
    c: Context,
    title: str,
    initiative: str,
    type: str,  # noqa: A002 - the flag's name
    target: str = "",
    summary: str = "",
    content: str = "",
    metadata: str = "",
    as_: str = "",
    json: bool = False,
) -> Answer:
    """
    Propose a new page, phase or task, or a change to one
    """
    project, fields = current_project(), _fields(metadata)
    if c.config.run.dry:
        return preview([f"propose {title}"])
    ledger, body = ledger_of(project), read_text(content)
    with ledger.write() as tx:
        found = tx.initiatives.named(initiative)
        proposed = tx.proposals.create(
            agent_id=current_agent(tx, project, as_).id,
            initiative_id=found.id,
            target_type=type,
            target_id=_target(tx, type, target, found.id) if target else None,
            title=title,
            summary=summary or None,
            content=body or None,
            metadata_=fields,
        )
    return Answer(row_for_json(proposed), f"proposed {short_id(proposed.id)}")


@task(
    reads=True,
    name="list",
    default=True,
    help={
        "as": "Only proposals of this agent, by name.",
        "status": "Only proposals with this status: pending, accepted or dismissed.",
        "initiative": "Only proposals of this initiative, by id.",
    },
    returns="`[proposal]`",
)
def list_(c: Context, as_: str = "", status: str = "", initiative: str = "", json: bool = False) -> Answer:
    """
    List the proposals
    """
    project = current_project(looks=True)
    with ledger_of(project).read() as tx:
        equals: dict[str, Any] = {"status": status} if status else {}
        if as_:
            equals["agent_id"] = tx.agents.named(as_).id
        if initiative:
            equals["initiative_id"] = tx.initiatives.named(initiative).id
        found = tx.proposals.find_all(**equals)
        names = {agent.id: agent.name for agent in tx.agents.find_all()}
    rows = [
        (
            short_id(proposal.id),
            proposal.status,
            f"{'change' if proposal.target_id else 'new'} {proposal.target_type}",
            names[proposal.agent_id],
            " ".join(filter(None, (proposal.title, proposal.summary and f"({proposal.summary})"))),
        )
        for proposal in found
    ]
    text = format_table(("ID", "STATUS", "WHAT", "AGENT", "TITLE"), rows) if rows else "no proposals"
    return Answer(rows_for_json(found), text)


@task(help={"proposals": _IDS_HELP}, returns="`[{proposal, type, changed, page or phase or task: row}]`")
def accept(c: Context, proposals: str, json: bool = False) -> Answer:
    """
    Apply proposals: all of them, or none if one fails
    """
    from tasks_lib.ledger.work import proposals as service

    project, names = current_project(), _names(proposals)
    if c.config.run.dry:
        return preview([f"accept proposal {name}" for name in names])
    with ledger_of(project).write() as tx:
        accepted = [tx.proposals.named(name) for name in names]
        made = [service.accept(tx, proposal.id) for proposal in accepted]
    data = [
        {
            "proposal": proposal.id,
            "type": proposal.target_type,
            "changed": proposal.target_id is not None,
            proposal.target_type: document,
        }
        for proposal, document in zip(accepted, rows_for_json(made), strict=True)
    ]
    lines = [
        f"{'changed' if proposal.target_id else 'created'} {proposal.target_type} {short_id(row.id)}  {proposal.title}"
        for proposal, row in zip(accepted, made, strict=True)
    ]
    return Answer(data, "\n".join(lines))


@task(help={"proposals": _IDS_HELP}, returns="`[proposal]`")
def dismiss(c: Context, proposals: str, json: bool = False) -> Answer:
    """
    Dismiss proposals: all of them, or none if one fails
    """
    from tasks_lib.ledger.work import proposals as service

    project, names = current_project(), _names(proposals)
    if c.config.run.dry:
        return preview([f"dismiss proposal {name}" for name in names])
    with ledger_of(project).write() as tx:
        dismissed = [service.dismiss(tx, tx.proposals.named(name).id) for name in names]
    return Answer(
        rows_for_json(dismissed),
        "\n".join(f"dismissed {short_id(proposal.id)}  {proposal.title}" for proposal in dismissed),
    )


def _names(text: str) -> list[str]:
    # Invoke cannot repeat a positional argument.
    return [name for name in text.replace(",", " ").split() if name]


def _fields(text: str) -> dict[str, Any] | None:
    try:
        fields = loads(text) if text else None
    except JSONDecodeError as error:
        raise LedgerError("--metadata is not JSON", why=str(error)) from None
    if not isinstance(fields, dict | None):
        raise LedgerError("--metadata is not a JSON object", hint="""--metadata '{"priority": "high"}'""")
    return fields


def _target(tx: Transaction, kind: str, name: str, initiative_id: str) -> str:
    """Return the id of the page, phase or task *name* of an initiative."""
    found: Page | Phase | Task
    if kind == "page":
        found = tx.pages.named(name)
    else:
        found = tx.phases.named(name) if kind == "phase" else tx.tasks.named(name)
    if found.initiative_id != initiative_id:
        raise ConflictError(f"{kind} `{name}` belongs to another initiative")
    return found.id
