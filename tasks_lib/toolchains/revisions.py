"""Read the graph of revisions from Alembic's version files."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from tasks_lib.errors import ToolchainError
from tasks_lib.toolchains.sources import read_literals, read_python

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Revision:
    """
    One version file.

    Attributes:
        name: The file's name, without its extension.
        parents: The revisions that must be applied before it.
    """

    name: str
    parents: tuple[str, ...]


def read_revisions(files: Iterable[Path]) -> dict[str, Revision]:
    """Return the revisions that *files* define, by key; skip files that define none."""
    found = {}
    for path in files:
        values = read_literals(read_python(path).body)
        if isinstance(key := values.get("revision"), str):
            # Include `depends_on`: Alembic does not count a revision as a head if another one depends on it.
            parents = (*_keys(values.get("down_revision")), *_keys(values.get("depends_on")))
            found[key] = Revision(path.stem, parents)
    return found


def find_ancestors(revisions: Mapping[str, Revision], heads: Iterable[str]) -> set[str]:
    """Return *heads* and all their ancestors; a head that is not in *revisions* has none."""
    found: set[str] = set()
    waiting = list(heads)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += [parent for parent in revisions[key].parents if parent in revisions] if key in revisions else []
    return found


def sort_revisions(revisions: Mapping[str, Revision]) -> list[str]:
    """
    Return the keys of *revisions*, parents first.

    Raises:
        ToolchainError: If revisions depend on each other.
    """
    sorter = TopologicalSorter({key: revision.parents for key, revision in revisions.items()})
    try:
        return [key for key in sorter.static_order() if key in revisions]
    except CycleError as error:
        raise ToolchainError("Alembic's revisions form a cycle", why=" -> ".join(error.args[1])) from None


def _keys(value: object) -> tuple[str, ...]:
    """Return a parent, which may be one key, several or None, as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, (tuple, list)) else ()
