"""The graph of revisions that Alembic's version files draw."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from tasks_lib.errors import ToolchainError
from tasks_lib.toolchains.sources import literals, read_python

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
    """Return the revisions that *files* define, by key; a file that defines none is passed over."""
    found = {}
    for path in files:
        values = literals(read_python(path).body)
        if isinstance(key := values.get("revision"), str):
            # `depends_on` counts as well: Alembic leaves a revision that another depends on out of its heads.
            parents = (*_keys(values.get("down_revision")), *_keys(values.get("depends_on")))
            found[key] = Revision(path.stem, parents)
    return found


def ancestors(revisions: Mapping[str, Revision], heads: Iterable[str]) -> set[str]:
    """Return *heads* and all that come before them; a head that is not among *revisions* stands for itself."""
    found: set[str] = set()
    waiting = list(heads)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += [parent for parent in revisions[key].parents if parent in revisions] if key in revisions else []
    return found


def in_order(revisions: Mapping[str, Revision]) -> list[str]:
    """
    Return the keys of *revisions*, parents first.

    Raises:
        ToolchainError: If revisions form a ring.
    """
    sorter = TopologicalSorter({key: revision.parents for key, revision in revisions.items()})
    try:
        return [key for key in sorter.static_order() if key in revisions]
    except CycleError as error:
        raise ToolchainError("Alembic's revisions form a ring", why=" -> ".join(error.args[1])) from None


def _keys(value: object) -> tuple[str, ...]:
    """Return a parent as a tuple: it is written as one key, several or None."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, (tuple, list)) else ()
