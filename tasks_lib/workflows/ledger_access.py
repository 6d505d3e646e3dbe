"""
Which ledger, and which agent, a command in a worktree is about.

Worktrees and the ledger do not import each other: an agent's `worktree_id` is the repository's id and the slug of a
worktree's record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.errors import GoldentreeError, LedgerError, WorktreeError
from tasks_lib.ledger.store.ids import short_id

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.ledger.ledger import Ledger, Transaction
    from tasks_lib.ledger.schema.agents import Agent
    from tasks_lib.ledger.schema.work import Task
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project


MAIN = "main"
"""Stands for the main worktree, which has no record; slugs end in a hash."""


def ledger_of(project: Project) -> Ledger:
    """
    Open the ledger of a repository: the file in its git directory, or what LEDGER_URL names.

    Raises:
        SettingsError: If LEDGER_URL cannot be used.
        LedgerError: If the ledger cannot be opened.
    """
    from tasks_lib.ledger.ledger import Ledger

    url = ledger_url(project)
    return Ledger.on_sqlite(_file(project)) if url is None else Ledger.on_postgres(url.parameters, url.masked)


def ledger_url(project: Project) -> DatabaseUrl | None:
    """
    Return what LEDGER_URL names, None where the ledger is a file.

    Raises:
        SettingsError: If it cannot be used.
    """
    if project.settings.ledger_url is None:
        return None
    from tasks_lib.databases.server.connection import require_psycopg
    from tasks_lib.databases.server.url import DatabaseUrl

    require_psycopg()
    return DatabaseUrl.parse(project.settings.ledger_url, source="LEDGER_URL")


def _file(project: Project) -> Path:
    return project.registry.directory / "ledger.db"


def worktree_id(project: Project) -> str:
    """
    Return the id of the worktree that we stand in, as agents bear it.

    Raises:
        WorktreeError: If this tool does not know it.
    """
    if not project.repository.linked:
        return worktree_id_of(project, MAIN)
    record = project.record_at(project.repository.here)
    if record is None:
        raise WorktreeError(
            f"`{project.repository.here}` has no record",
            why="agents are known by their worktree, and this one was made without goldentree",
            hint="inv worktree.setup",
        )
    return worktree_id_of(project, record.slug)


def worktree_id_of(project: Project, slug: str) -> str:
    """Return the id of the worktree *slug*, as agents bear it."""
    return f"{project.registry.repository_id}/{slug}"


def branches(project: Project) -> dict[str, str]:
    """
    Return the branches of this repository's worktrees, by the ids that agents bear.

    Raises:
        RegistryError: If a record cannot be read.
    """
    known = {worktree_id_of(project, record.slug): record.identity.branch for record in project.registry.records()}
    return {worktree_id_of(project, MAIN): "(main worktree)", **known}


def stop_orphaned_agents(project: Project, narrator: Narrator) -> None:
    """
    Mark the agents of worktrees that are gone as stopped; their rows stay, with all that they wrote.

    Without a ledger, nothing is loaded or made. One that cannot be used must not fail the removal that is behind
    us: that is said, and `worktree.gc` makes up for it.
    """
    if project.settings.ledger_url is None and not _file(project).exists():
        return
    from tasks_lib.ledger.agents import registration

    try:
        paths = project.registry.paths()
        homes = {
            worktree_id_of(project, record.slug)
            for record in project.registry.records()
            # While one is being removed it may still come back; with its directory gone, only databases are left of it.
            if record.state != "removing" or ((path := paths.get(record.slug)) and path.exists())
        }
        with narrator.looking("tell the ledger"), ledger_of(project).write() as tx:
            stopped = registration.stop_orphaned_agents(
                tx, project.registry.repository_id, {worktree_id_of(project, MAIN), *homes}
            )
    except GoldentreeError as error:
        narrator.say(f"warning: agents that were there may still count as at work\n{error}")
        narrator.say("once the ledger can be used, `inv worktree.gc --yes` stops them")
        return
    if stopped:
        narrator.say(f"stopped, as their worktree is gone: {', '.join(agent.name for agent in stopped)}")


def current_agent(tx: Transaction, project: Project, name: str) -> Agent:
    """
    Return the agent that runs the command: *name*, or the one agent of this worktree.

    Raises:
        NotFoundError: If there is no agent *name*.
        LedgerError: If the worktree has none, or several.
    """
    from tasks_lib.ledger.agents.liveness import is_lost
    from tasks_lib.ledger.schema.agents import GONE

    if name:
        return tx.agents.named(name)
    found = [agent for agent in tx.agents.find_all(worktree_id=worktree_id(project)) if agent.status not in GONE]
    if len(found) > 1:
        found = [agent for agent in found if not is_lost(agent)] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise LedgerError("this worktree has no agent", why="the ledger must know who asks", hint="inv agent.register")
    raise LedgerError(
        "this worktree has several agents", why=", ".join(agent.name for agent in found), hint="pass --as NAME"
    )


def resolve_actor(tx: Transaction, project: Project, name: str) -> Agent | None:
    """
    Return the agent that finishes or gives up a task, None if *name* is `user`: a person.

    Raises:
        NotFoundError: If there is no agent *name*.
        LedgerError: If the worktree has none, or several.
    """
    from tasks_lib.ledger.agents.names import USER

    return None if name == USER else current_agent(tx, project, name)


def task_or_held(tx: Transaction, agent: Agent | None, name: str) -> Task:
    """
    Return the task *name*, by default the one that *agent* holds.

    Raises:
        NotFoundError, ConflictError: If no task, or several, match *name*.
        LedgerError: If *name* is empty and no task is held.
    """
    from tasks_lib.ledger.work import queue

    if name:
        return tx.tasks.named(name)
    if agent is None:
        raise LedgerError("which task?", why="a person holds no task", hint="inv task.list --status in_progress")
    task = queue.held_by(tx, agent)
    if task is None:
        raise LedgerError(f"agent `{agent.name}` holds no task", hint="inv task.claim")
    return task


def release_lost_tasks(ledger: Ledger, narrator: Narrator) -> list[Task]:
    """Put the tasks of lost agents back into the queue, report each, and return them."""
    from tasks_lib.ledger.work import queue

    with ledger.read() as tx:  # a read never waits, and mostly there is nothing to release
        if not queue.stale(tx):
            return []
    with ledger.write() as tx:
        released = queue.release_stale(tx)
    for task, holder in ((found.task, found.holder) for found in released):
        who = f"{holder.name} is gone" if holder else "no agent held it"
        narrator.say(
            f"released {short_id(task.id)} {task.name}: {who}; it is {task.status},"
            f" lost or failed {task.retry_count} time{'s' if task.retry_count > 1 else ''}"
        )
    return [found.task for found in released]
