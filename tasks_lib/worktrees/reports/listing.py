"""
Listing: what git knows, what the registry knows, and where the two differ; then what the server knows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import GoldentreeError
from tasks_lib.git.repository import WorktreeEntry, list_worktrees
from tasks_lib.git.status import GitState, read_states
from tasks_lib.worktrees import ports
from tasks_lib.worktrees.reports import database_state
from tasks_lib.worktrees.reports.database_state import DatabaseState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Row:
    """
    One worktree.

    Attributes:
        listed: What git lists it as; a worktree that git does not know any more is made up from its record.
        record: None where this tool knows nothing of it.
        state: `main`; a record's own state; `unmanaged`, where this tool knows nothing; `gone`, where the
            directory is not there, or git does not know the worktree any more.
        current: Whether we stand in it.
        git: Its state in git, None before `examined` and where the directory is not there.
        databases: Its databases, None before `examined` and without a record.
        listening: Whether something listens on its port; None likewise.
    """

    listed: WorktreeEntry
    record: Record | None
    state: str
    current: bool
    git: GitState | None = None
    databases: DatabaseState | None = None
    listening: bool | None = None

    @property
    def branch(self) -> str | None:
        """What is checked out, None when HEAD is detached."""
        return self.listed.branch

    @property
    def path(self) -> Path:
        """Where it is, or was."""
        return self.listed.path

    @property
    def age(self) -> float | None:
        """How many seconds ago it was made by this tool."""
        if self.record is None or not self.record.created:
            return None
        return (datetime.now(UTC) - datetime.fromisoformat(self.record.created)).total_seconds()


def list_rows(project: Project) -> list[Row]:
    """
    Return every worktree, the main one first; then records whose worktree is gone.

    Raises:
        GitError: If git cannot list them.
        RegistryError: If a record cannot be read.
    """
    main, *linked = list_worktrees(project.repository.main)
    records = {record.slug: record for record in project.registry.records()}
    slugs = {path: slug for slug, path in project.registry.paths().items()}
    here = project.repository.here
    result = [Row(main, None, "main", here == main.path)]
    for listed in linked:
        record = records.pop(slugs.get(listed.path, ""), None)
        result.append(Row(listed, record, _state(record, there=listed.path.exists()), here == listed.path))
    for record in records.values():
        listed = WorktreeEntry(Path(record.path), record.identity.branch, head=None, locked=None, bare=False)
        result.append(Row(listed, record, _state(record, there=False), current=False))
    return result


def report_rows(project: Project, rows: Sequence[Row]) -> tuple[list[Row], list[GoldentreeError]]:
    """
    Return *rows* with what git and the server know of them, and what kept the server from telling.

    Nothing is started or changed for that; what cannot be told of one worktree does not keep the others.
    """
    places = {row.record.slug: (row.record, row.path) for row in rows if row.record}
    troubles = []
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(database_state.report_database_states, project, places) if places else None
        states = iter(read_states(project.repository, [row.listed for row in rows if _is_there(row)]))
        try:
            found = asked.result() if asked else {}
        except GoldentreeError as error:
            found, troubles = {}, [error]
    result = [
        replace(
            row,
            git=next(states) if _is_there(row) else None,
            databases=found.get(row.record.slug) if row.record else None,
            listening=ports.answers(row.record.port) if row.record else None,
        )
        for row in rows
    ]
    return result, troubles


def format_document(row: Row) -> dict[str, Any]:
    """
    Return *row* for programs; null is what does not apply or cannot be told.

    - `branch`, `path`, `state`, `current`, `locked`: the branch that is checked out, the directory, the state as in
      `Row`, whether we stand in it, the reason for which git keeps it locked (perhaps empty).
    - `slug`, `database`, `port`, `dev_url`, `listening`: its names, and whether something listens on the port.
    - `head`, `dirty`, `ahead`, `behind`, `merged`: the commit, how many paths have uncommitted changes, how many
      commits it has that the default branch lacks and the reverse, and how its commits have come into that
      (`ancestor`, or a proof by content: `same tree`, `nothing to add`, `patch`).
    - `upstream`: `branch`, `ahead` and `behind` of what it tracks.
    - `bytes`, `sessions`: of the database, on disk and connected to it.
    - `companions`: its further databases, each with `database`, `bytes` and `sessions`.
    - `drift`: how many migrations are `applied`, `pending`, and `missing` (golden's or the database's, but not the
      branch's), and `golden_changed`, whether golden has since the clone was made.
    - `created`, `age_seconds`: when this tool made it, in ISO 8601, and how long ago.
    """
    record, state = row.record, row.git or GitState(row.listed.head)
    clone = row.databases or DatabaseState()
    drift = clone.migrations.drift if clone.migrations else None
    counted = {name: len(getattr(drift, name)) if drift else None for name in ("applied", "pending", "missing")}
    return {
        "branch": row.branch,
        "path": row.path,
        "state": row.state,
        "current": row.current,
        "locked": row.listed.locked,
        "slug": record and record.slug,
        "database": record and record.identity.database,
        "port": record and record.port,
        "dev_url": record and record.identity.dev_url,
        "listening": row.listening,
        "head": state.head,
        "dirty": state.dirty,
        "ahead": state.ahead,
        "behind": state.behind,
        "merged": state.merged,
        "upstream": state.upstream and vars(state.upstream),
        "bytes": clone.own and (clone.own.bytes or None),
        "sessions": clone.own and clone.own.sessions,
        "companions": [
            {"database": one.name, "bytes": one.bytes or None, "sessions": one.sessions} for one in clone.companions
        ],
        "drift": {**counted, "golden_changed": clone.golden_changed} if record else None,
        "created": record and record.created,
        "age_seconds": row.age and round(row.age),
    }


def _state(record: Record | None, *, there: bool) -> str:
    if record is None:
        return "unmanaged" if there else "gone"
    return "gone" if record.state == "ready" and not there else record.state


def _is_there(row: Row) -> bool:
    return row.state != "gone" and row.path.exists()
