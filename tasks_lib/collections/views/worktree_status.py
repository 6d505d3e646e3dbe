"""
The status of a worktree as text.
"""

from __future__ import annotations

from datetime import UTC, datetime
from textwrap import indent
from typing import TYPE_CHECKING

from tasks_lib.collections.views.worktree_table import format_ports
from tasks_lib.output import format_age, format_pairs, format_size
from tasks_lib.program_name import name_program
from tasks_lib.worktrees.reports.incomplete import describe_worker

if TYPE_CHECKING:
    from tasks_lib.databases.copy.result import CloneSummary
    from tasks_lib.databases.ownership.managed import ManagedDatabase
    from tasks_lib.worktrees.reports.listing import Row
    from tasks_lib.worktrees.reports.migrations import Migrations
    from tasks_lib.worktrees.reports.status import Status


def format_status(status: Status, command: str | None) -> str:
    """Return *status* as lines; problems come last. *command* is the setting `db.migrate`."""
    text = format_pairs([*_git_rows(status.row), *_name_rows(status.row), *_database_rows(status, command)])
    for problem in status.problems:
        text += f"\n\n✗ {problem.what}" + (
            f"\n{indent(f'hint: {name_program(problem.cure)}', '  ')}" if problem.cure else ""
        )
    return text


def migration_rows(migrations: Migrations | None, command: str | None) -> list[tuple[str, str]]:
    """
    Return rows on a database's migrations, compared with the branch and golden.

    Args:
        migrations: None if the migration history cannot be read.
        command: The setting `db.migrate`.
    """
    if migrations is None and command:
        return [("migrations", f"applied by `{command}`, whose migration history goldentree cannot read")]
    if migrations is None:
        return [("migrations", "no migration tool detected")]
    drift = migrations.drift
    return [
        ("migrations", f"{len(drift.applied)} applied, {len(drift.pending)} pending  ({migrations.toolchain})"),
        *(("  last", name) for name in drift.applied[-1:]),
        *(("  pending", name) for name in drift.pending),
        *(("  missing", f"{name}  (golden has it, this branch lacks it)") for name in drift.missing),
    ]


def clone_row(clone: CloneSummary) -> tuple[str, str]:
    """Return the row on when and how the *clone* of a record was created."""
    since = datetime.now(UTC) - datetime.fromisoformat(clone.created_at)
    return "cloned", f"{format_age(since.total_seconds())} ago by {clone.method}"


def _git_rows(row: Row) -> list[tuple[str, str]]:
    branch = row.branch or "(detached)"
    if row.record and row.record.identity.branch not in (row.branch, row.record.slug):
        branch += f"  (created for {row.record.identity.branch})"
    state = "the main worktree" if row.state == "main" else row.activity
    git = row.git.text if row.git else "-"
    if row.git and row.git.dirty:
        git += f"  ({row.git.dirty} changed path{'s' if row.git.dirty > 1 else ''})"
    if row.git and row.git.merged:
        git += f"  ({row.git.merged})"
    rows = [("worktree", f"{row.path}  ({state})"), ("branch", branch), ("git", git)]
    if row.record and row.worker:
        rows.append(("now", describe_worker(row.record, row.worker)))
    if row.entry.locked is not None:
        rows.append(("locked", row.entry.locked or "without a reason"))
    if row.git and (upstream := row.git.upstream):
        where = "gone" if upstream.ahead is None else f"ahead {upstream.ahead}, behind {upstream.behind}"
        rows.append(("upstream", f"{upstream.branch}  ({where})"))
    return rows


def _name_rows(row: Row) -> list[tuple[str, str]]:
    if row.record is None:
        return []
    names = row.record.identity
    return [
        ("slug", names.slug),
        ("subdomain", names.subdomain),
        ("address", row.record.address),
        ("port", f"{format_ports(row.record)}  ({'something listens' if row.listening else 'nothing listens'})"),
        ("number", str(row.record.number)),
    ]


def _database_rows(status: Status, command: str | None) -> list[tuple[str, str]]:
    row, databases = status.row, status.row.databases
    rows = []
    if row.record:
        own = databases and databases.own
        known = _describe(own, status.tables) if own else "?" if row.record.clone else "not created"
        rows.append(("database", f"{row.record.identity.database}  ({known})"))
    rows += [
        ("companion", f"{companion.name}  ({_describe(companion)})")
        for companion in (databases.companions if databases else ())
    ]
    whose = {True: "this worktree's own", False: "NOT this worktree's", None: "not checked"}[status.own]
    if row.state == "main":
        whose = "the main worktree's; no task here changes it"
    if status.url:
        rows.append(("url", status.url))
        rows.append(("", f"from {_format_layer(status.layer)}: {whose}"))
    elif row.state != "gone":
        rows.append(("url", "none: not in the env file, not in the environment"))
    rows += [
        ("variable", variable.describe())
        for variable in status.variables
        if (variable.reference.key, variable.reference.source) != ("DATABASE_URL", status.layer)
    ]
    rows += [("mentioned", f"{place}: {what}") for place, what in status.mentions]
    if row.record and (clone := row.record.clone):
        rows.append(clone_row(clone))
    rows.append(("golden", status.template + _format_golden(status)))
    if databases and databases.own and row.state != "gone":
        rows += migration_rows(databases.migrations, command)
    return rows


def _describe(database: ManagedDatabase, tables: int | None = None) -> str:
    parts = [format_size(database.bytes) if database.bytes else "? bytes"]
    if tables is not None:
        parts.append(f"{tables} tables")
    parts.append(f"{database.sessions} session{'' if database.sessions == 1 else 's'}")
    return ", ".join(parts)


def _format_layer(layer: str | None) -> str:
    return "the process environment" if layer == "environment" else str(layer)


def _format_golden(status: Status) -> str:
    databases, golden = status.row.databases, status.golden
    said = []
    if golden:
        said.append(f"{format_size(golden.bytes)}, {golden.sessions} session{'' if golden.sessions == 1 else 's'}")
    if databases and databases.golden_changed is not None:
        said.append("changed since" if databases.golden_changed else "unchanged since")
    new = len(databases.migrations.new_in_golden) if databases and databases.migrations else 0
    if new:
        said.append(f"{new} new migration{'' if new == 1 else 's'}")
    return f"  ({', '.join(said)})" if said else ""
