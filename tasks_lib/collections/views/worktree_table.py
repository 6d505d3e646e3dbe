"""
The list of worktrees, as people read it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.output import age, in_terminal, size, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_lib.errors import GoldentreeError
    from tasks_lib.worktrees.reports.database_state import DatabaseState
    from tasks_lib.worktrees.reports.listing import Row

HEADINGS = ("BRANCH", "STATE", "GIT", "DATABASE", "SIZE", "DRIFT", "PORT", "AGE", "PATH")

_SPARE = ("DATABASE", "AGE", "PATH", "SIZE", "PORT", "DRIFT")
"""What a narrow terminal goes without, the first of them first."""

_STYLES = {"gone": "red", "creating": "yellow", "removing": "yellow", "unmanaged": "dim"}


def worktrees(rows: Sequence[Row]) -> str:
    """Return the table of *rows*; in a terminal, the one we stand in is bold and paths are short."""
    styles = ["bold" if row.current else _STYLES.get(row.state, "") for row in rows]
    return table(HEADINGS, map(_cells, rows), spare=_SPARE, styles=styles)


def _cells(row: Row) -> tuple[str, ...]:
    record, databases = row.record, row.databases
    return (
        row.branch or "(detached)",
        row.state + (", locked" if row.entry.locked is not None else ""),
        row.git.text if row.git else "-",
        record.identity.database if record else "-",
        _size(row),
        drift(databases) if databases else "?" if record else "-",
        str(record.port) if record else "-",
        age(row.age) if row.age is not None else "-",
        short(row.path) if in_terminal() else str(row.path),
    )


def warnings(rows: Sequence[Row], troubles: Sequence[GoldentreeError]) -> list[str]:
    """Return a line for everything that kept something from being told."""
    found: dict[str, list[str]] = {trouble.what: [] for trouble in troubles}
    for row in rows:
        for why in [state.why for state in (row.git, row.databases) if state and state.why]:
            found.setdefault(why, []).append(row.branch or str(row.path))
    # A golden template that is gone concerns all of its clones: once is enough.
    return [f"{names[0]}: {why}" if len(names) == 1 else why for why, names in found.items()]


def drift(databases: DatabaseState) -> str:
    """Return how a clone stands to its branch and to golden, in a few words."""
    said = []
    if databases.migrations is not None:
        found = databases.migrations.drift
        said = [f"{len(names)} {name}" for name in ("pending", "missing") if (names := getattr(found, name))]
    if databases.golden_changed:
        said.append("golden changed")
    if said:
        return ", ".join(said)
    return "?" if databases.why else "-" if databases.own is None else "none"


def short(path: Path) -> str:
    """Return *path* as it is typed here: relative to the current directory or to the home, whatever is shortest."""
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
    return size(row.databases.own.bytes) if row.databases.own.bytes else "?"
