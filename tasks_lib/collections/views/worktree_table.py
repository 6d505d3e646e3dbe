"""
The table of worktrees.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.output import format_age, format_size, format_table, in_terminal

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from tasks_lib.errors import GoldentreeError
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.reports.database_state import DatabaseState
    from tasks_lib.worktrees.reports.listing import Row

HEADINGS = ("BRANCH", "STATE", "GIT", "DATABASE", "SIZE", "DRIFT", "PORT", "AGE", "PATH")

_SPARE = ("DATABASE", "AGE", "PATH", "SIZE", "PORT", "DRIFT")
"""The columns that a narrow terminal drops, in this order."""

_STYLES = {"gone": "red", "creating": "yellow", "removing": "yellow", "unmanaged": "dim"}


def format_worktrees(rows: Sequence[Row], pending: Container[str] = ()) -> str:
    """
    Return the table of *rows*; in a terminal, the current worktree is bold and paths are short.

    Args:
        pending: `git` and `databases`, if these states are still being read; unknown ones are `…` then.
    """
    styles = ["bold" if row.current else _STYLES.get(row.state, "") for row in rows]
    return format_table(HEADINGS, [_cells(row, pending) for row in rows], spare=_SPARE, styles=styles)


def _cells(row: Row, pending: Container[str]) -> tuple[str, ...]:
    record, databases = row.record, row.databases
    if "databases" in pending and record and databases is None:
        size = drift = "…"
    else:
        size, drift = _size(row), format_drift(databases) if databases else "?" if record else "-"
    path = shorten_path(row.path) if in_terminal() else str(row.path)
    return (
        row.branch or "(detached)",
        row.activity + (", locked" if row.entry.locked is not None else ""),
        row.git.text if row.git else "…" if "git" in pending and row.state != "gone" else "-",
        record.identity.database if record else "-",
        size,
        drift,
        format_ports(record) if record else "-",
        format_age(row.age) if row.age is not None else "-",
        path if path.isprintable() else repr(path),
    )


def format_warnings(rows: Sequence[Row], troubles: Sequence[GoldentreeError]) -> list[str]:
    """Return a line for each reason why a cell is unknown, and for each variable that leads to a foreign database."""
    found: dict[str, list[str]] = {trouble.what: [] for trouble in troubles}
    for row in rows:
        if row.worker is not None:
            continue  # whatever is unknown or wrong now may not be when it has ended
        for why in [state.why for state in (row.git, row.databases) if state and state.why]:
            found.setdefault(why, []).append(row.branch or str(row.path))
        for variable in row.foreign or ():
            found.setdefault(variable.describe(), []).append(row.branch or str(row.path))
    # A missing golden template affects all of its clones, so it is reported once.
    return [f"{names[0]}: {why}" if len(names) == 1 else why for why, names in found.items()]


def format_drift(databases: DatabaseState) -> str:
    """Return how a clone differs from its branch and from golden, in a few words."""
    parts = []
    if databases.migrations is not None:
        found = databases.migrations.drift
        parts = [f"{len(names)} {name}" for name in ("pending", "missing") if (names := getattr(found, name))]
    if databases.golden_changed:
        parts.append("golden changed")
    if parts:
        return ", ".join(parts)
    return "?" if databases.why else "-" if databases.own is None else "none"


def format_ports(record: Record) -> str:
    """Return the worktree's ports with their names."""
    return ", ".join(f"{port} {name}" for name, port in record.ports.items()) or str(record.port)


def shorten_path(path: Path) -> str:
    """Return *path* in its shortest form: absolute, or relative to the current directory or to the home."""
    home = Path.home()
    forms = [str(path), os.path.relpath(path)]
    if path.is_relative_to(home):
        forms.append(str("~" / path.relative_to(home)))
    return min(forms, key=len)


def _size(row: Row) -> str:
    if row.record is None:
        return "-"
    if row.databases is None or row.databases.own is None:
        return "-" if row.record.clone is None else "?"
    return format_size(row.databases.own.bytes) if row.databases.own.bytes else "?"
