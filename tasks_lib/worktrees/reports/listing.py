"""
List the worktrees of git and of the registry, and report on each from git and the server.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import GoldentreeError
from tasks_lib.git.repository import WorktreeEntry, list_worktrees
from tasks_lib.git.status import GitState, read_states
from tasks_lib.worktrees import ports
from tasks_lib.worktrees.env.env_files import is_env_file
from tasks_lib.worktrees.env.variables import (
    find_variables_of_main,
    known_databases,
    read_variables,
    running_server_url,
)
from tasks_lib.worktrees.reports import database_state
from tasks_lib.worktrees.reports.database_state import DatabaseState

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.waits import Holder
    from tasks_lib.worktrees.env.variables import DatabaseVariable
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Row:
    """
    One worktree.

    Attributes:
        entry: Git's entry, or one made from the record if git no longer lists the worktree.
        record: None for a worktree without a record.
        state: `main`; the record's state; `unmanaged` without a record; `gone` if the directory does not exist or
            git no longer lists it.
        current: Whether it is the current worktree.
        worker: The process that creates, changes or removes it.
        git: Its state in git, None before `fill_rows` and without a directory.
        databases: Its databases, None before `fill_rows` and without a record.
        listening: Whether a process listens on one of its ports, None as for *databases*.
        foreign: Its variables that lead to a database of golden, the main worktree or another worktree; None before
            `fill_rows`, if they cannot be read, and while a process works on it.
    """

    entry: WorktreeEntry
    record: Record | None
    state: str
    current: bool
    worker: Holder | None = None
    git: GitState | None = None
    databases: DatabaseState | None = None
    listening: bool | None = None
    foreign: tuple[DatabaseVariable, ...] | None = None

    @property
    def branch(self) -> str | None:
        """The branch that is checked out, None if HEAD is detached."""
        return self.entry.branch

    @property
    def path(self) -> Path:
        """The directory where it is, or was."""
        return self.entry.path

    @property
    def activity(self) -> str:
        """Its state, and whether a process works on it; one that is not ready and has none was interrupted."""
        if self.worker is not None:
            busy = "stopped" if self.worker.stopped else "busy" if self.state == "ready" else ""
            return ", ".join(filter(None, (self.state, busy)))
        return f"{self.state}, interrupted" if self.state in ("creating", "removing") else self.state

    @property
    def age(self) -> float | None:
        """Seconds since this tool created it."""
        if self.record is None or not self.record.created_at:
            return None
        return (datetime.now(UTC) - datetime.fromisoformat(self.record.created_at)).total_seconds()


def list_rows(project: Project) -> list[Row]:
    """
    Return every worktree, the main one first, and at the end the records whose worktree is gone.

    Raises:
        GitError: If git cannot list them.
        RegistryError: If a record cannot be read.
    """
    main, *linked = list_worktrees(project.repository.main)
    records = {record.slug: record for record in project.registry.records()}
    slugs = {path: slug for slug, path in project.registry.paths().items()}
    current = project.repository.current
    result = [Row(main, None, "main", current == main.path)]
    for entry in linked:
        record = records.pop(slugs.get(entry.path, ""), None)
        state, worker = _state(record, exists=entry.path.exists()), _find_worker(project, record)
        result.append(Row(entry, record, state, current == entry.path, worker))
    for record in records.values():
        entry = WorktreeEntry(Path(record.path), record.identity.branch, head=None, locked=None, bare=False)
        result.append(Row(entry, record, _state(record, exists=False), False, _find_worker(project, record)))
    return result


def fill_rows(project: Project, rows: list[Row], *, quick: bool = False) -> list[GoldentreeError]:
    """
    Add the states of git and the server to *rows*, each as soon as it is known.

    Starts no server and changes nothing. An error of one worktree does not affect the others.

    Args:
        quick: Leave out the states of git, which take long in large repositories.

    Returns:
        The errors if the server cannot be reached or an env file cannot be read.
    """
    lock = Lock()
    numbers = {row.entry: number for number, row in enumerate(rows) if _exists(row)}

    def fill(number: int, **states: Any) -> None:
        with lock:
            rows[number] = replace(rows[number], **states)

    def fill_foreign() -> None:
        of_main = find_variables_of_main(project)
        server = running_server_url(project)
        nested = {reference.source for reference in of_main}
        for number, row in enumerate(rows):
            if row.record and row.worker is None and number in numbers.values():
                known = known_databases(project, row.record, server, of_main)
                try:
                    # Those that the main worktree has, and any at the root: searching whole worktrees would take long.
                    files = nested | {file.name for file in row.path.iterdir() if is_env_file(file.name)}
                except FileNotFoundError:
                    continue  # the worktree has just been removed
                environ = os.environ if row.current else {}
                found = read_variables(project, row.path, known, environ, sorted(files))
                fill(number, foreign=tuple(variable for variable in found if variable.wrong))

    def fill_databases() -> None:
        records = {number: row.record for number, row in enumerate(rows) if row.record}
        for number, record in records.items():
            fill(number, listening=any(map(ports.answers, record.all_ports)))
        places = {record.slug: (record, rows[number].path) for number, record in records.items()}
        found = database_state.report_database_states(project, places) if places else {}
        for number, record in records.items():
            fill(number, databases=found.get(record.slug))

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(fill_databases)
        if not quick:
            read_states(
                project.repository,
                [*numbers],
                project.settings.base,
                lambda entry, state: fill(numbers[entry], git=state),
            )
        return _errors(fill_foreign, asked.result)


def _errors(*calls: Callable[[], object]) -> list[GoldentreeError]:
    """Make each of *calls*, and return the errors."""
    errors = []
    for call in calls:
        try:
            call()
        except GoldentreeError as error:
            errors.append(error)
    return errors


def format_document(row: Row) -> dict[str, Any]:
    """
    Return the JSON document of *row*. Null where something is unknown or does not apply.

    - `branch`, `path`, `state`, `current`, `locked`: the checked-out branch, the directory, the state as in `Row`,
      whether it is the current worktree, the reason of git's lock (may be empty).
    - `worker`: the process that creates, changes or removes it: its `pid` (null if it is elsewhere), `task`, `since`
      when, and whether it is `stopped`. A worktree in state `creating` or `removing` without one was interrupted.
    - `slug`, `database`, `port`, `dev_url`: its names.
    - `ports`, `number`: the ports of `worktree.ports` by name, and its number in the repository.
    - `listening`: whether a process listens on one of its ports.
    - `head`, `dirty`, `ahead`, `behind`, `merged`: the commit, the number of paths with uncommitted changes, the
      number of commits ahead of and behind the base branch, and how its commits were merged into that
      (`ancestor`, or by comparing content: `same tree`, `nothing to add`, `patch`).
    - `upstream`: `branch`, `ahead` and `behind` of the upstream branch.
    - `bytes`, `sessions`: the database's size on disk and its connected sessions.
    - `foreign`: the variables that lead to a database of golden, the main worktree or another worktree, each with its
      `source` (an env file, or `environment`), `key` and `database`.
    - `companions`: its other databases, each with `database`, `bytes` and `sessions`.
    - `drift`: how many migrations are `applied`, `pending`, and `missing` (applied in golden or the database, without
      a file on the branch), and `golden_changed`, whether golden has changed since it was cloned.
    - `created`, `age_seconds`: when this tool created it, in ISO 8601, and how long ago.
    """
    record, state = row.record, row.git or GitState(row.entry.head)
    clone = row.databases or DatabaseState()
    drift = clone.migrations.drift if clone.migrations else None
    counted = {name: len(getattr(drift, name)) if drift else None for name in ("applied", "pending", "missing")}
    return {
        "branch": row.branch,
        "path": row.path,
        "state": row.state,
        "current": row.current,
        "locked": row.entry.locked,
        "worker": row.worker
        and {
            "pid": row.worker.pid if row.worker.local else None,
            "task": row.worker.task or None,
            "since": row.worker.since or None,
            "stopped": row.worker.stopped,
        },
        "slug": record and record.slug,
        "database": record and record.identity.database,
        "port": record and record.port,
        "ports": record and record.ports,
        "number": record and record.number,
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
        "foreign": row.foreign
        and [
            {
                "source": variable.reference.source,
                "key": variable.reference.key,
                "database": variable.reference.database,
            }
            for variable in row.foreign
        ],
        "companions": [
            {"database": companion.name, "bytes": companion.bytes or None, "sessions": companion.sessions}
            for companion in clone.companions
        ],
        "drift": {**counted, "golden_changed": clone.golden_changed} if record else None,
        "created": record and record.created_at,
        "age_seconds": row.age and round(row.age),
    }


def _find_worker(project: Project, record: Record | None) -> Holder | None:
    return project.registry.find_worker(record.slug) if record else None


def _state(record: Record | None, *, exists: bool) -> str:
    if record is None:
        return "unmanaged" if exists else "gone"
    return "gone" if record.state == "ready" and not exists else record.state


def _exists(row: Row) -> bool:
    return row.state != "gone" and row.path.exists()
