"""
Where the ledger and the worktrees meet: which ledger, and which agent, a command in a worktree is about.

Neither knows the other. An agent's `worktree_id` is the repository's id and the slug of a registry record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.errors import LedgerError, WorktreeError

if TYPE_CHECKING:
    from tasks_lib.ledger.ledger import Ledger, Transaction
    from tasks_lib.ledger.schema.agents import Agent
    from tasks_lib.worktrees.project import Project

MAIN = "main"
"""Stands for the main worktree, which has no record; slugs end in a hash."""

NOTHING_READY = 3
"""Exit status of a claim when no task is ready."""

AS_HELP = "Which agent you are, by name; not needed while this worktree has one agent."


def ledger_of(here: Project) -> Ledger:
    """
    Open the ledger of a repository: the file in its git directory, or what LEDGER_URL names.

    Raises:
        SettingsError: If LEDGER_URL cannot be used.
        LedgerError: If the ledger cannot be opened.
    """
    from tasks_lib.ledger.ledger import Ledger  # noqa: PLC0415 - 250 ms of SQLAlchemy

    if here.settings.ledger_url is None:
        return Ledger.on_sqlite(here.registry.directory / "ledger.db")
    from tasks_lib.databases.server import require_psycopg  # noqa: PLC0415 - as above
    from tasks_lib.databases.url import DatabaseUrl  # noqa: PLC0415 - as above

    require_psycopg()
    url = DatabaseUrl.parse(here.settings.ledger_url, source="LEDGER_URL")
    return Ledger.on_postgres(url.parameters, url.masked)


def worktree_id(here: Project) -> str:
    """
    Return the id of the worktree that we stand in, as agents bear it.

    Raises:
        WorktreeError: If this tool does not know it.
    """
    if not here.repository.linked:
        return worktree_id_of(here, MAIN)
    record = here.record_at(here.repository.here)
    if record is None:
        raise WorktreeError(
            f"`{here.repository.here}` has no record",
            why="agents are known by their worktree, and this one was made without goldentree",
            hint="inv worktree.setup",
        )
    return worktree_id_of(here, record.slug)


def worktree_id_of(here: Project, slug: str) -> str:
    """Return the id of the worktree *slug*, as agents bear it."""
    return f"{here.registry.repository_id}/{slug}"


def acting(tx: Transaction, here: Project, name: str) -> Agent:
    """
    Return the agent that runs the command: *name*, or the one agent of this worktree.

    Raises:
        NotFoundError: If there is no agent *name*.
        LedgerError: If the worktree has none, or several.
    """
    from tasks_lib.ledger.schema.agents import GONE  # noqa: PLC0415 - as in `ledger_of`

    if name:
        return tx.agents.named(name)
    found = [agent for agent in tx.agents.find_all(worktree_id=worktree_id(here)) if agent.status not in GONE]
    if len(found) == 1:
        return found[0]
    if not found:
        raise LedgerError("this worktree has no agent", why="the ledger must know who asks", hint="inv agent.register")
    raise LedgerError(
        "this worktree has several agents", why=", ".join(agent.name for agent in found), hint="pass --as NAME"
    )


def short(id: str) -> str:  # noqa: A002 - what it is
    """Return enough of an id to name it by."""
    return id[:8]


def documents(rows: Any) -> list[dict[str, Any]]:
    """Return the rows of a table for JSON."""
    from tasks_lib.ledger.schema import document  # noqa: PLC0415 - as in `ledger_of`

    return [document(row) for row in rows]
