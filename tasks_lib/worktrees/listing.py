"""
Listing: what git knows, what the registry knows, and where the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.worktrees import git

if TYPE_CHECKING:
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Row:
    """
    One worktree.

    Attributes:
        state: `main`; a record's own state; `unmanaged`, where this tool knows nothing; `gone`, where the
            directory is not there, or git does not know the worktree any more.
    """

    branch: str | None
    path: Path
    slug: str | None
    database: str | None
    port: int | None
    dev_url: str | None
    state: str


def rows(project: Project) -> list[Row]:
    """
    Return every worktree, the main one first; then records whose worktree is gone.

    Raises:
        GitError: If git cannot list them.
        RegistryError: If a record cannot be read.
    """
    main, *linked = git.worktrees(project.repository.main)
    result = [Row(main.branch, main.path, None, None, None, None, "main")]
    seen = set()
    for listed in linked:
        record = project.record_at(listed.path)
        if record is None:
            state = "unmanaged" if listed.path.exists() else "gone"
            result.append(Row(listed.branch, listed.path, None, None, None, None, state))
        else:
            seen.add(record.slug)
            result.append(_row(record, listed.branch, listed.path, there=listed.path.exists()))
    result += [
        _row(record, record.identity.branch, Path(record.path), there=False)
        for record in project.registry.records()
        if record.slug not in seen
    ]
    return result


def _row(record: Record, branch: str | None, path: Path, *, there: bool) -> Row:
    names = record.identity
    state = "gone" if record.state == "ready" and not there else record.state
    return Row(branch, path, names.slug, names.database, record.port, names.dev_url, state)
