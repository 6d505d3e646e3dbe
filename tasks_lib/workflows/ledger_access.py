"""
Find the ledger of a repository and the agents of its worktrees.

The packages `worktrees` and `ledger` do not import each other. An agent's `worktree_id` links them: it is the
repository's id and the slug of a worktree's record.
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
"""Used as the slug of the main worktree, which has no record; real slugs end in a hash."""


def ledger_of(project: Project) -> Ledger:
    """
    Open the ledger of a repository: the file in its git directory, or the database in LEDGER_URL.

    Raises:
        SettingsError: If LEDGER_URL cannot be used.
        LedgerError: If the ledger cannot be opened.
    """
    from tasks_lib.ledger.ledger import Ledger

    url = ledger_url(project)
    if url is None:
        return Ledger.on_sqlite(_file(project), looks=project.looks)
    return Ledger.on_postgres(url.parameters, url.masked, looks=project.looks)


def ledger_url(project: Project) -> DatabaseUrl | None:
    """
    Return LEDGER_URL parsed, None if the ledger is a file.

    Raises:
        SettingsError: If LEDGER_URL cannot be used.
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
    Return the `worktree_id` of agents in the current worktree.

    Raises:
        WorktreeError: If the worktree has no record.
    """
    if not project.repository.linked:
        return worktree_id_of(project, MAIN)
    record = project.record_at(project.repository.current)
    if record is None:
        raise WorktreeError(
            f"`{project.repository.current}` has no record",
            why="it was not created by goldentree, and agents are registered by worktree",
            hint="inv worktree.setup",
        )
    return worktree_id_of(project, record.slug)


def worktree_id_of(project: Project, slug: str) -> str:
    """Return the `worktree_id` of agents in the worktree *slug*."""
    return f"{project.registry.repository_id}/{slug}"


def branches(project: Project) -> dict[str, str]:
    """
    Return the branches of this repository's worktrees by `worktree_id`.

    Raises:
        RegistryError: If a record cannot be read.
    """
    known = {worktree_id_of(project, record.slug): record.identity.branch for record in project.registry.records()}
    return {worktree_id_of(project, MAIN): "(main worktree)", **known}


def stop_orphaned_agents(project: Project, narrator: Narrator) -> None:
    """
    Mark the agents of removed worktrees as stopped; their rows, questions and logs stay.

    Without a ledger, does nothing and creates none. An error of the ledger is only a warning, because the worktree
    is removed already; `worktree.gc` tries again.
    """
    if project.settings.ledger_url is None and not _file(project).exists():
        return
    from tasks_lib.ledger.agents import registration

    try:
        paths = project.registry.paths()
        homes = {
            worktree_id_of(project, record.slug)
            for record in project.registry.records()
            # A removal can still fail and roll back until the directory is gone.
            if record.state != "removing" or ((path := paths.get(record.slug)) and path.exists())
        }
        with narrator.quietly("update the ledger"), ledger_of(project).write() as tx:
            stopped = registration.stop_orphaned_agents(
                tx, project.registry.repository_id, {worktree_id_of(project, MAIN), *homes}
            )
    except GoldentreeError as error:
        narrator.say(f"warning: agents of the removed worktree may not be marked as stopped\n{error}")
        narrator.say("once the ledger can be used, `inv worktree.gc --yes` marks them")
        return
    if stopped:
        narrator.say(f"stopped, because their worktree is gone: {', '.join(agent.name for agent in stopped)}")


def current_agent(tx: Transaction, project: Project, name: str) -> Agent:
    """
    Return the agent that runs the command: *name*, or the one agent of this worktree.

    Raises:
        NotFoundError: If agent *name* does not exist.
        LedgerError: If the worktree has no agent, or several.
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
        NotFoundError: If agent *name* does not exist.
        LedgerError: If the worktree has no agent, or several.
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
