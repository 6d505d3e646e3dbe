"""
Report everything known about one worktree, and whether its application would use its own database.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tasks_lib.errors import GoldentreeError, ServerError
from tasks_lib.program_name import name_program
from tasks_lib.settings import env_values
from tasks_lib.worktrees.env.guard import require_own_database
from tasks_lib.worktrees.env.variables import (
    find_mentions,
    format_cure,
    known_databases,
    read_variables,
    running_server_url,
)
from tasks_lib.worktrees.reports import listing
from tasks_lib.worktrees.reports.blocked_merges import find_blocked_merges
from tasks_lib.worktrees.reports.incomplete import Problem, command_for_worktree, describe_worker, diagnose
from tasks_lib.worktrees.reports.migrations import compare_migrations, history_reader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.worktrees.env.variables import DatabaseVariable
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.reports.listing import Row
    from tasks_lib.worktrees.reports.migrations import Migrations


@dataclass
class Status:
    """
    One worktree. None where something is unknown or does not apply.

    Attributes:
        row: Its row in the list of worktrees.
        url: DATABASE_URL as an application reads it there, without the password.
        layer: Where DATABASE_URL is set: `environment`, or the env file's name.
        own: Whether DATABASE_URL names the worktree's own database; None for the main worktree.
        tables: The number of user tables.
        template: The golden template's name.
        golden: The golden template on the server.
        variables: Every variable that names a database, exported or in an env file.
        mentions: Where other configuration names a foreign database, and which.
    """

    row: Row
    template: str
    url: str | None = None
    layer: str | None = None
    own: bool | None = None
    tables: int | None = None
    golden: Golden | None = None
    problems: list[Problem] = field(default_factory=list)
    variables: list[DatabaseVariable] = field(default_factory=list)
    mentions: list[tuple[str, str]] = field(default_factory=list)

    def add(self, error: GoldentreeError) -> None:
        """Add *error* to the problems."""
        self.problems.append(Problem(": ".join(filter(None, (error.what, error.why.partition("\n")[0]))), error.hint))


def report_status(project: Project, name: str, environ: Mapping[str, str]) -> Status:
    """
    Report on a worktree. Starts no server and changes nothing. Problems are reported, not raised.

    Args:
        project: The repository.
        name: A branch, a slug or a path; empty for the current worktree.
        environ: The process environment, which matters only in the current worktree.

    Raises:
        WorktreeError: If *name* is unknown.
        GitError, RegistryError: If worktrees or records cannot be read.
    """
    rows = [_find(project, name)]
    troubles = listing.fill_rows(project, rows)
    [row] = rows
    status = Status(row, row.record.golden if row.record else project.settings.template)
    for error in troubles:
        status.add(error)
    status.problems += _problems(project, row)
    _find_blocked_merges(project, status)
    _read_variables(project, status, environ if row.current else {})
    _read_url(project, status, environ if row.current else {})
    if not troubles:
        _ask_server(project, status)
    if row.record and (worker := row.worker):
        # Whatever else is wrong now may be right when it has ended.
        stopped = [Problem(describe_worker(row.record, worker), worker.cure)] if worker.stopped else []
        status.problems = status.problems[: len(troubles)] + stopped
    return status


def format_document(status: Status) -> dict[str, Any]:
    """
    Return the JSON document of *status*. Null where something is unknown or does not apply.

    In addition to `listing.format_document`:

    - `branch_at_creation`, `subdomain`, `session`: names that do not change with the branch.
    - `url`, `url_layer`, `own`: as in `Status`.
    - `tables`, `clone`: how, when and in how many seconds the database was cloned.
    - `toolchain`, `migrations`: the tool, and the names of the `applied`, `pending` and `missing` migrations; `last` is
      the branch's last applied one.
    - `golden`: its name as `database`, `bytes`, `sessions`, whether it has `changed` since it was cloned, and
      `new_migrations`, which are applied in golden but not in the clone.
    - `variables`: what names a database: its `source` (an env file, or `environment`), `key` and `database`, `whose` it
      is (`own`, `companion`, `foreign`, or `other` for one that all worktrees share), and whether it is `kept`.
    - `mentions`: the `place` (`file:line`) where other configuration names a foreign database, and `what` that is.
    - `problems`: each with `message` and `hint`. If there are any, the exit status is 1.
    """
    record, databases, golden = status.row.record, status.row.databases, status.golden
    migrations = databases and databases.migrations
    return {
        **listing.format_document(status.row),
        "branch_at_creation": record and record.identity.branch,
        "subdomain": record and record.identity.subdomain,
        "session": record and record.identity.session,
        "url": status.url,
        "url_layer": status.layer,
        "own": status.own,
        "tables": status.tables,
        "clone": record and msgspec.to_builtins(record.clone),
        "toolchain": migrations and migrations.toolchain,
        "migrations": migrations
        and {
            "applied": migrations.drift.applied,
            "pending": migrations.drift.pending,
            "missing": migrations.drift.missing,
            "last": next(reversed(migrations.drift.applied), None),
        },
        "golden": {
            "database": status.template,
            "bytes": golden and golden.bytes,
            "sessions": golden and golden.sessions,
            "changed": databases and databases.golden_changed,
            "new_migrations": migrations and migrations.new_in_golden,
        },
        "variables": [
            {
                "source": variable.reference.source,
                "key": variable.reference.key,
                "database": variable.reference.database,
                "whose": variable.whose,
                "kept": variable.kept,
            }
            for variable in status.variables
        ],
        "mentions": [{"place": place, "what": what} for place, what in status.mentions],
        "problems": [
            {"message": problem.what, "hint": name_program(problem.cure) or None} for problem in status.problems
        ],
    }


def _find(project: Project, name: str) -> Row:
    rows = listing.list_rows(project)
    if not name:
        return next(row for row in rows if row.current)
    if name == rows[0].branch or os.path.realpath(name) == str(rows[0].path):
        return rows[0]
    path, record = project.find(name)
    return next(row for row in rows if row.path == path or (record and row.record == record))


def _problems(project: Project, row: Row) -> list[Problem]:
    if row.state == "unmanaged":
        setup = command_for_worktree(project, row.path, "setup")
        return [Problem("it has no database of its own, because another program created it", setup)]
    if row.record is not None:
        found = diagnose(project, row.record, None if row.state == "gone" else row.path)
        if found is not None:
            return [found]
    elif row.state == "gone":
        return [Problem(f"it is gone from {row.path}", f"inv worktree.remove {shlex.quote(str(row.path))}")]
    reasons = [state.why for state in (row.git, row.databases) if state and state.why]
    return [Problem(reason, "") for reason in reasons]


def _find_blocked_merges(project: Project, status: Status) -> None:
    if status.row.record is None or status.row.state == "gone":
        return
    try:
        status.problems += find_blocked_merges(project, status.row.path)
    except GoldentreeError as error:
        status.add(error)


def _read_variables(project: Project, status: Status, environ: Mapping[str, str]) -> None:
    """Find the variables that name a database; each that leads to a foreign one is a problem."""
    row = status.row
    if row.record is None or row.state == "gone":
        return
    try:
        known = known_databases(project, row.record, running_server_url(project))
        status.variables = read_variables(project, row.path, known, environ)
        status.mentions = find_mentions(row.path, known)
    except GoldentreeError as error:
        status.add(error)
    setup = command_for_worktree(project, row.path, "setup")
    status.problems += [
        Problem(variable.describe(), format_cure([variable], renamed_by=setup))
        for variable in status.variables
        if variable.wrong
    ]


def _read_url(project: Project, status: Status, environ: Mapping[str, str]) -> None:
    from tasks_lib.databases.server.url import DatabaseUrl

    row, record = status.row, status.row.record
    if row.state == "gone":
        return
    try:
        text, status.layer = _effective(project, row.path, environ)
        status.url = DatabaseUrl.parse(text, source=f"DATABASE_URL in {status.layer}").masked if text else None
        if record is not None and record.clone is not None:
            status.own = False
            if any(variable.wrong for variable in status.variables):
                return
            require_own_database(project, record, row.path, environ)
            status.own = True
    except ServerError as error:
        status.own = None
        if not status.problems:
            status.add(error)
    except GoldentreeError as error:
        status.add(error)


def _effective(project: Project, path: Path, environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return DATABASE_URL as an application in the worktree at *path* reads it, and where it is set."""
    if exported := environ.get("DATABASE_URL"):
        return exported, "environment"
    layers = ((env_values(path / name).get("DATABASE_URL"), name) for name in project.settings.style_files)
    return next(((text, name) for text, name in layers if text), (None, None))


def _ask_server(project: Project, status: Status) -> None:
    from tasks_lib.databases.compare import queries
    from tasks_lib.databases.ownership.golden_template import require_open
    from tasks_lib.databases.server.from_settings import running_server

    try:
        server = running_server(project.settings)
        if status.row.databases and (own := status.row.databases.own):
            _, status.tables = queries.read_size_and_table_count(server, own.name)
        with server.connect() as connection:
            status.golden = require_open(connection, status.template)
    except GoldentreeError as error:
        status.add(error)


@dataclass(frozen=True)
class DatabaseStatus:
    """
    A summary of one worktree's database.

    Attributes:
        bytes: Its size on disk.
        migrations: None if no migration tool is known.
    """

    record: Record
    url: DatabaseUrl
    bytes: int
    tables: int
    migrations: Migrations | None


def report_database(project: Project, environ: Mapping[str, str]) -> DatabaseStatus:
    """
    Report on the current worktree's database.

    Raises:
        GoldentreeError: If the worktree has no database, or DATABASE_URL names another one.
    """
    from tasks_lib.databases.compare import queries

    record, path = project.require_record_here(), project.repository.current
    url = require_own_database(project, record, path, environ)
    size, tables = queries.read_size_and_table_count(project.server, record.identity.database)
    migrations = compare_migrations(project, history_reader(project.server), record, path)
    return DatabaseStatus(record, url, size, tables, migrations)
