"""
Check a ledger's integrity, and summarise its contents.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import LedgerError
from tasks_lib.ledger.agents.liveness import is_lost
from tasks_lib.ledger.schema.agents import GONE, AgentStatus
from tasks_lib.ledger.schema.talk import ConversationStatus
from tasks_lib.ledger.store import migrate
from tasks_lib.ledger.work import queue
from tasks_lib.program_name import name_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tasks_lib.ledger.ledger import Ledger
    from tasks_lib.ledger.schema.agents import Agent
    from tasks_lib.ledger.schema.work import Task

WAL_RESET = (3, 51, 3)
"""
The first SQLite without the WAL-reset bug: two connections that write and checkpoint at the wrong moment lose pages
(https://sqlite.org/changes.html).
"""

_POSTGRES_BYTES = """
    SELECT sum(pg_total_relation_size(oid)) FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"""

_SHOWN = 10
"""How many faults an error names."""


@dataclass(frozen=True)
class Health:
    """
    The state of an intact ledger.

    Attributes:
        bytes: Its size, including SQLite's write-ahead log.
        engine: The database's name and version.
        journal_mode: SQLite's; None on PostgreSQL.
        queue: How many tasks are in each state.
        agents: How many agents are in each state.
        lost: The names of agents whose process has died without a change of status.
        questions: The number of open questions.
        stale: The tasks in progress without a live holder, with the holder whose process has died, if any.
        warnings: Risks of this SQLite version or file system.
    """

    bytes: int
    revision: str | None
    engine: str
    journal_mode: str | None
    queue: Mapping[str, int]
    agents: Mapping[str, int]
    lost: Sequence[str]
    questions: int
    stale: Sequence[tuple[Task, Agent | None]]
    warnings: Sequence[str]


def check_health(ledger: Ledger, version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Health:
    """
    Check a ledger and count what is in it.

    Args:
        version: The version of SQLite.

    Raises:
        LedgerError: If it is damaged; on PostgreSQL the server checks that.
    """
    with ledger.read() as tx:
        run = tx.session.connection().exec_driver_sql
        if lite := ledger.engine.dialect.name == "sqlite":
            require_sound(run, Path(ledger.where))
        agents = tx.agents.find_all()
        states = Counter(agent.status for agent in agents)
        journal = str(run("PRAGMA journal_mode").scalar()) if lite else None
        return Health(
            bytes=_file_bytes(Path(ledger.where)) if lite else int(run(_POSTGRES_BYTES).scalar() or 0),
            revision=migrate.revision(tx.session.connection()),
            engine=f"SQLite {_dotted(version)}" if lite else f"PostgreSQL {run('SHOW server_version').scalar()}",
            journal_mode=journal,
            queue=queue.queue_state(tx),
            agents={state.value: states[state] for state in AgentStatus if states[state]},
            lost=[agent.name for agent in agents if agent.status not in GONE and is_lost(agent)],
            questions=len(tx.conversations.find_all(status=ConversationStatus.PENDING)),
            stale=queue.stale(tx),
            warnings=_warnings(version, str(journal)) if lite else [],
        )


def require_sound(run: Callable[[str], Any], file: Path) -> None:
    """
    Check the pages and foreign keys of the SQLite database in *file*.

    Args:
        run: Runs a statement in that database and returns its rows.

    Raises:
        LedgerError: If the check finds a fault.
    """
    faults = [str(row[0]) for row in run("PRAGMA quick_check")]
    if faults == ["ok"]:
        lost = Counter((row[0], row[2]) for row in run("PRAGMA foreign_key_check"))
        faults = [f"{number} of `{table}` refer to no row of `{to}`" for (table, to), number in lost.items()]
    if faults:
        raise LedgerError(
            f"`{file}` is damaged",
            why="\n".join(faults[:_SHOWN]),
            hint="stop the agents, move it and its -wal and -shm aside, and copy the latest backup there",
        )


def _file_bytes(file: Path) -> int:
    logs = [file.with_name(f"{file.name}-wal")]
    return sum(part.stat().st_size for part in (file, *logs) if part.exists())


def _warnings(version: tuple[int, ...], journal: str) -> list[str]:
    found = []
    if version < WAL_RESET:
        found.append(
            f"SQLite {_dotted(version)} has the WAL-reset bug, fixed in {_dotted(WAL_RESET)}: very rarely, a write "
            + name_program("during a checkpoint damages the file; keep backups: inv ledger.backup")
        )
    if journal not in ("wal", "memory"):
        found.append(
            f"the journal mode is `{journal}`, because the file system does not support WAL: readers wait for writers; "
            "keep the repository on a local disk, or set LEDGER_URL"
        )
    return found


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
