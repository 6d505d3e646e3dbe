"""The agents' shared database: status, backup, board."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, OptionalPositional, task
from tasks_lib.collections.views.results import preview
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import Narrator, format_pairs, format_size
from tasks_lib.programs import trusted_path
from tasks_lib.workflows.ledger_access import MAIN, ledger_of, ledger_url, worktree_id_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invoke.context import Context

    from tasks_lib.ledger.board.content import Place
    from tasks_lib.worktrees.project import Project


@task(
    reads=True,
    returns=("`{where, bytes, revision, engine, journal_mode, queue, agents, lost, questions, stale, warnings}`"),
)
def status(c: Context, json: bool = False) -> Answer:
    """
    Show the ledger's location, integrity and contents

    Reads every page of a ledger on SQLite. If it is damaged, prints how to recover
    and exits with 1.
    """
    from tasks_lib.ledger.maintenance.health import check_health

    ledger, narrator = ledger_of(current_project(looks=True)), Narrator()
    with narrator.quietly("check the ledger"):
        found = check_health(ledger)
    stale = [(task, holder.name if holder else None) for task, holder in found.stale]
    data = {
        "where": ledger.where,
        "bytes": found.bytes,
        "revision": found.revision,
        "engine": found.engine,
        "journal_mode": found.journal_mode,
        "queue": found.queue,
        "agents": found.agents,
        "lost": found.lost,
        "questions": found.questions,
        "stale": [{"task": task.id, "name": task.name, "holder": holder} for task, holder in stale],
        "warnings": found.warnings,
    }
    engine = f"{found.engine}{f', journal mode {found.journal_mode}' if found.journal_mode else ''}"
    rows = [
        ("ledger", f"{ledger.where}  ({format_size(found.bytes)}, revision {found.revision})"),
        ("engine", engine),
        ("tasks", _counted({state.replace("_", " "): number for state, number in found.queue.items()})),
        ("agents", _counted(found.agents)),
        *(("  lost", f"{name}  (its process has ended)") for name in found.lost),
        ("questions", f"{found.questions} open" if found.questions else "none open"),
        *(
            ("stale", f"{short_id(task.id)} {task.name}  (held by {holder or 'no agent'}; the next claim releases it)")
            for task, holder in stale
        ),
    ]
    return Answer(data, "\n".join([format_pairs(rows), *(f"\n! {warning}" for warning in found.warnings)]))


@task(
    klass=OptionalPositional,
    help={"file": "The new file; beside the ledger, named after the date, when not given."},
    returns="`{path, bytes, restore}`",
)
def backup(c: Context, file: str = "", json: bool = False) -> Answer:
    """
    Copy the ledger into a new file, and check the copy

    Takes a consistent copy while agents keep working. Only you can read the file,
    which may contain credentials. Never replaces a file.
    """
    from tasks_lib.ledger.maintenance.backup import back_up

    project, narrator = current_project(), Narrator()
    ledger, url = ledger_of(project), ledger_url(project)
    name = f"ledger-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.{'dump' if url else 'db'}"
    target = Path(file).absolute() if file else project.registry.directory / name
    if c.config.run.dry:
        return preview([f"copy the ledger at {ledger.where} to {target}"])
    with narrator.quietly(f"copy the ledger to {target}"):
        count = back_up(ledger, target, url)
    if url:
        restore = f'pg_restore --single-transaction --clean --if-exists --dbname "$LEDGER_URL" {quote(str(target))}'
    else:
        restore = f"stop the agents, remove {ledger.where}-wal and -shm, and copy the file to {ledger.where}"
    return Answer(
        {"path": target, "bytes": count, "restore": restore},
        format_pairs([("backup", f"{target}  ({format_size(count)}, checked)"), ("to restore", restore)]),
    )


@task(
    help={
        "out": "The file; ledger-board.html beside the ledger when not given.",
        "open": "Open it in the browser.",
    },
    returns="`{path, counts}`",
)
def board(c: Context, out: str = "", open: bool = False, json: bool = False) -> Answer:  # noqa: A002 - the flag's name
    """
    Write the ledger as one HTML page: work, agents, questions

    The page needs no network. Replaces only an earlier board. Prints its path.
    """
    from tasks_lib.ledger.board.content import read
    from tasks_lib.ledger.board.file import write
    from tasks_lib.ledger.board.page import page

    project, narrator = current_project(looks=True), Narrator()  # it reads the ledger, and writes only the page
    target = Path(out).absolute() if out else project.registry.directory / "ledger-board.html"
    if c.config.run.dry:
        return preview([f"write {target}"])
    ledger, places = ledger_of(project), _places(project)
    with narrator.quietly("draw the board"):
        with ledger.read() as tx:
            found = read(tx, ledger.where, places)
        write(page(found, project.repository.main.name), target)
    if open:
        _show(target, narrator)
    counts = {
        "initiatives": sum(work.initiative is not None for work in found.works),
        "tasks": found.counts,
        "agents": len(found.active_agents),
        "questions": len(found.questions),
        "messages": len(found.messages),
        "errands": len(found.open_errands),
    }
    return Answer({"path": target, "counts": counts}, str(target))


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in numbers.items() if number) or "none"


def _places(project: Project) -> dict[str, Place]:
    """Return the places where agents of this repository can work, by worktree id."""
    from tasks_lib.git.repository import list_worktrees
    from tasks_lib.ledger.board.content import Place

    branches = {row.path: row.branch or "(detached)" for row in list_worktrees(project.repository.main)}
    paths, main = project.registry.paths(), project.repository.main
    places = {worktree_id_of(project, MAIN): Place(branches.get(main, ""), str(main), "")}
    for record in project.registry.records():
        path, names = paths.get(record.slug), record.identity
        there = path is not None and path.exists()
        branch = branches.get(path, names.branch) if path else names.branch
        database = names.database if record.clone else ""
        places[worktree_id_of(project, record.slug)] = Place(branch, str(path) if there else "", database)
    return places


def _show(target: Path, narrator: Narrator) -> None:
    """Open a page in a browser, if this session can show one."""
    import webbrowser

    os.environ["PATH"] = trusted_path()  # where it looks for a browser
    seen = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if not (seen and webbrowser.open(target.as_uri())):
        narrator.say("no browser was found to open it in")
