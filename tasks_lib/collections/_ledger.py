"""
Where the ledger and the worktrees meet: which ledger, and which agent, a command in a worktree is about.

Neither knows the other. An agent's `worktree_id` is the repository's id and the slug of a registry record.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from tasks_lib.errors import GoldentreeError, Interrupted, LedgerError, WorktreeError
from tasks_lib.plan import terminations_interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.ledger.ledger import Ledger, Transaction
    from tasks_lib.ledger.schema.agents import Agent
    from tasks_lib.output import Narrator
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

    url = ledger_url(here)
    return Ledger.on_sqlite(_file(here)) if url is None else Ledger.on_postgres(url.parameters, url.masked)


def ledger_url(here: Project) -> DatabaseUrl | None:
    """
    Return what LEDGER_URL names, None where the ledger is a file.

    Raises:
        SettingsError: If it cannot be used.
    """
    if here.settings.ledger_url is None:
        return None
    from tasks_lib.databases.server.connection import require_psycopg  # noqa: PLC0415 - 150 ms, only where there is a server
    from tasks_lib.databases.server.url import DatabaseUrl  # noqa: PLC0415 - same

    require_psycopg()
    return DatabaseUrl.parse(here.settings.ledger_url, source="LEDGER_URL")


def _file(here: Project) -> Path:
    return here.registry.directory / "ledger.db"


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


def branches(here: Project) -> dict[str, str]:
    """
    Return the branches of this repository's worktrees, by the ids that agents bear.

    Raises:
        RegistryError: If a record cannot be read.
    """
    known = {worktree_id_of(here, record.slug): record.identity.branch for record in here.registry.records()}
    return {worktree_id_of(here, MAIN): "(main worktree)", **known}


def stop_homeless(here: Project, narrator: Narrator) -> None:
    """
    Mark the agents of worktrees that are gone as stopped; their rows stay, with all that they wrote.

    Without a ledger, nothing is loaded or made. One that cannot be used must not fail the removal that is behind
    us: that is said, and `worktree.gc` makes up for it.
    """
    if here.settings.ledger_url is None and not _file(here).exists():
        return
    from tasks_lib.ledger.agents import registration  # noqa: PLC0415 - as in `ledger_of`

    try:
        paths = here.registry.paths()
        homes = {
            worktree_id_of(here, record.slug)
            for record in here.registry.records()
            # While one is being removed it may still come back; with its directory gone, only databases are left of it.
            if record.state != "removing" or ((path := paths.get(record.slug)) and path.exists())
        }
        with narrator.looking("tell the ledger"), ledger_of(here).write() as tx:
            stopped = registration.stop_homeless(tx, here.registry.repository_id, {worktree_id_of(here, MAIN), *homes})
    except GoldentreeError as error:
        narrator.say(f"warning: agents that were there may still count as at work\n{error}")
        narrator.say("once the ledger can be used, `inv worktree.gc --yes` stops them")
        return
    if stopped:
        narrator.say(f"stopped, as their worktree is gone: {', '.join(agent.name for agent in stopped)}")


def acting(tx: Transaction, here: Project, name: str) -> Agent:
    """
    Return the agent that runs the command: *name*, or the one agent of this worktree.

    Raises:
        NotFoundError: If there is no agent *name*.
        LedgerError: If the worktree has none, or several.
    """
    from tasks_lib.ledger.agents.liveness import is_lost  # noqa: PLC0415 - as in `ledger_of`
    from tasks_lib.ledger.schema.agents import GONE  # noqa: PLC0415 - same

    if name:
        return tx.agents.named(name)
    found = [agent for agent in tx.agents.find_all(worktree_id=worktree_id(here)) if agent.status not in GONE]
    if len(found) > 1:
        found = [agent for agent in found if not is_lost(agent)] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise LedgerError("this worktree has no agent", why="the ledger must know who asks", hint="inv agent.register")
    raise LedgerError(
        "this worktree has several agents", why=", ".join(agent.name for agent in found), hint="pass --as NAME"
    )


def given(text: str) -> str:
    """
    Return a text as it was given to a command: `-` stands for what standard input holds.

    Raises:
        LedgerError: If that is no text.
    """
    if text != "-":
        return text
    try:
        return standard_input().read().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise LedgerError("standard input is not UTF-8 text") from None


def standard_input() -> BinaryIO:
    """
    Return standard input.

    Raises:
        LedgerError: If it is closed, as `<&-` does it.
    """
    if sys.stdin is None:
        raise LedgerError("standard input is closed")
    return sys.stdin.buffer


def number(text: str, flag: str) -> int | None:
    """
    Return a number from 1 as it was given to *flag*, None where it was not.

    Raises:
        LedgerError: If it is none; Invoke's own conversion would end in a traceback.
    """
    if text and not (text.isdecimal() and int(text)):
        raise LedgerError(f"`{text}` in {flag} is no number from 1")
    return int(text) if text else None


@contextmanager
def interruptible(why: str, hint: str = "") -> Iterator[None]:
    """
    Say on Ctrl-C how things stand, and how to go on.

    Raises:
        Interrupted: On Ctrl-C, SIGTERM or SIGHUP.
    """
    try:
        with terminations_interrupt():
            yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted", why=why, hint=hint) from None


def short(id: str) -> str:  # noqa: A002 - what it is
    """Return enough of an id to name it by."""
    return id[:8]


def documents(rows: Any) -> list[dict[str, Any]]:
    """Return the rows of a table for JSON."""
    from tasks_lib.ledger.schema import document  # noqa: PLC0415 - as in `ledger_of`

    return [document(row) for row in rows]
