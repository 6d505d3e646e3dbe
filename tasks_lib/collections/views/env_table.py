"""
The table of the values in a worktree's env files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.collections._task import Answer
from tasks_lib.output import format_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tasks_lib.worktrees.reports.env_values import EnvValue

HIDDEN = "***"


def report(
    values: Sequence[EnvValue], command: Callable[[str], str], added: Mapping[str, Sequence[str]] | None = None
) -> Answer:
    """
    Return the *values*, or the keys that were *added* to each file.

    Args:
        command: Returns the command line of a task of `worktree` in that worktree.
    """
    new = [(file, key) for file, keys in (added or {}).items() for key in keys]
    data = {
        "values": [vars(value) for value in values],
        "added": [{"file": file, "key": key} for file, key in new],
    }
    if added is None:
        return Answer(data, _format_values(values, command))
    return Answer(data, "\n".join(f"added {key} to {file}" for file, key in new) or "no key is missing")


def _format_values(values: Sequence[EnvValue], command: Callable[[str], str]) -> str:
    cells = [
        (
            value.file,
            value.key,
            HIDDEN if value.value is None and value.state != "missing" else value.value or "",
            value.state + (", but another value is exported" if value.exported else ""),
        )
        for value in values
    ]
    lines = [format_table(("FILE", "KEY", "VALUE", "STATE"), cells)]
    states = {value.state for value in values}
    if "missing" in states:
        lines.append(f"add the missing keys: {command('env')} --sync")
    if "wrong" in states:
        lines.append(f"correct the wrong values: {command('setup')}")
    return "\n".join(lines)
