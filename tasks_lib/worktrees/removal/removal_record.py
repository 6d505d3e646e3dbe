"""
Notes of removals: what `worktree.undo` needs to bring a worktree back.

A note is written before anything is taken away and stays until the removal is undone, or `gc`
forgets it. Until then a ref, `refs/goldentree/removed/…`, keeps the worktree's last commit, and its
uncommitted work where there was any, from git's own garbage collection. The parked databases are
found by their marks, which hold the same moment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.git import uncommitted
from tasks_lib.worktrees import registry

if TYPE_CHECKING:
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

REFERENCES = "refs/goldentree/removed/"


@dataclass(frozen=True)
class RemovalRecord:
    """
    One removal.

    Attributes:
        slug: The worktree's; made from its path where this tool does not know it.
        removed: When, in ISO 8601 with offset and microseconds; parked databases bear the same.
        path: Where the worktree was.
        branch: What was checked out there; None when HEAD was detached, or the worktree was gone before.
        tip: The commit that was checked out; None when the worktree and its branch were gone before.
        saved: The commit that holds uncommitted work, *tip* where there was none.
        record: The worktree's record; None when this tool did not make it.
        only_databases: Whether the worktree itself stayed (`worktree.teardown`, `db.reset`).
        delete_branch: Whether the branch goes as well.
    """

    slug: str
    removed: str
    path: str
    branch: str | None
    tip: str | None
    saved: str | None
    record: Record | None
    only_databases: bool = False
    delete_branch: bool = False

    @property
    def reference(self) -> str:
        """The ref that keeps *saved*."""
        return f"{REFERENCES}{self.key}"

    @property
    def key(self) -> str:
        """What nothing else is called."""
        return f"{self.slug}-{''.join(character for character in self.removed[:26] if character.isdigit())}"

    @property
    def trash(self) -> Path:
        """Where the worktree's files go on their way out: on the same file system, under a name of its own."""
        # Without the directory's own name, which may be as long as a name can be.
        return Path(self.path).with_name(f".goldentree-{self.key}")


def timestamp() -> str:
    """Return the time, fine enough to tell two removals of one worktree apart."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def write(project: Project, note: RemovalRecord) -> RemovalRecord:
    """Write *note* down, and return it."""
    data = asdict(note) | {"record": note.record and registry.data_of(note.record)}
    registry.write(_path(project, note), data)
    return note


def list_removals(project: Project, slug: str | None = None) -> list[RemovalRecord]:
    """
    Return the notes of all removals, or of the worktree *slug*; the newest first.

    Raises:
        RegistryError: If one cannot be read.
    """
    found = []
    for path in _folder(project).glob("*.json"):
        data = registry.read(path)
        try:
            record = registry.record_of(data["record"]) if data["record"] else None
            found.append(RemovalRecord(**{**data, "record": record}))
        except (TypeError, KeyError, ValueError) as error:
            raise registry.corrupt(path, error) from None
    return sorted((note for note in found if slug in (None, note.slug)), key=lambda note: note.removed, reverse=True)


def interrupted_removal(project: Project, record: Record | None) -> RemovalRecord | None:
    """Return the note of the removal, or teardown, of *record* that has not come to its end."""
    if record is None or record.state != "removing":
        return None
    return next(iter(list_removals(project, record.slug)), None)


def delete(project: Project, note: RemovalRecord) -> None:
    """Delete *note* and the ref that keeps its commits."""
    uncommitted.delete(project.repository, note.reference)
    _path(project, note).unlink(missing_ok=True)


def _folder(project: Project) -> Path:
    return project.registry.directory / "removed"


def _path(project: Project, note: RemovalRecord) -> Path:
    return _folder(project) / f"{note.key}.json"
