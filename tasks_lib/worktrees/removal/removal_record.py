"""
Records of removals, from which `worktree.undo` restores a worktree.

A record is written before anything is removed, and stays until the removal is undone or `worktree.gc` deletes it.
Until then a ref, `refs/goldentree/removed/…`, protects the worktree's last commit and its uncommitted work from git's
garbage collection. The ownership comments of the parked databases have the same timestamp.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tasks_lib.files import delete_tree
from tasks_lib.git import uncommitted
from tasks_lib.git.remotes import Tracking
from tasks_lib.worktrees import registry
from tasks_lib.worktrees.registry import Record

if TYPE_CHECKING:
    from tasks_lib.worktrees.project import Project

REFERENCES = "refs/goldentree/removed/"


class RemovalRecord(msgspec.Struct, frozen=True):
    """
    One removal.

    Attributes:
        slug: The worktree's slug, derived from its path if it had no record.
        removed_at: When, in ISO 8601 with offset and microseconds. Parked databases have the same timestamp.
        path: Where the worktree was.
        branch: The branch that was checked out; None if HEAD was detached or the worktree was already deleted.
        tip: The commit that was checked out; None if the worktree and its branch were already deleted.
        saved: The commit that holds uncommitted work, *tip* if there was none.
        worktree: The worktree's record, None if it had none.
        only_databases: Whether the worktree itself stayed (`worktree.teardown`, `db.reset`, `db.pull`).
        delete_branch: Whether the branch is deleted as well.
        tracking: What the branch tracks, None if nothing.
        hidden: git's tags of the files in `kept_folder` that git tracks, see `git.unseen`.
        restored: Whether the files in `kept_folder` are in the restored worktree.
        undone: Whether it was undone: the record stays for files in *trash* that could not be deleted.
    """

    slug: str
    removed_at: str = msgspec.field(name="removed")
    path: str
    branch: str | None
    tip: str | None
    saved: str | None
    worktree: Record | None = msgspec.field(name="record")
    only_databases: bool = False
    delete_branch: bool = False
    tracking: Tracking | None = None
    hidden: dict[str, str] = {}
    restored: bool = False
    undone: bool = False

    @classmethod
    def of_databases(cls, worktree: Record, path: Path, branch: str | None, removed_at: str) -> RemovalRecord:
        """Return the record for databases that are replaced, while the worktree at *path* stays."""
        return cls(worktree.slug, removed_at, str(path), branch, None, None, worktree, only_databases=True)

    @property
    def reference(self) -> str:
        """The ref that protects *saved*."""
        return f"{REFERENCES}{self.key}"

    @property
    def key(self) -> str:
        """A unique name for this removal."""
        return f"{self.slug}-{''.join(character for character in self.removed_at[:26] if character.isdigit())}"

    @property
    def trash(self) -> Path:
        """Where the worktree's files are moved before they are deleted: a sibling, so on the same file system."""
        # Without the directory's name, which may already have the maximum length.
        return Path(self.path).with_name(f".goldentree-{self.key}")


def timestamp() -> str:
    """Return the current time, precise enough to order what is parked within one second."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def write(project: Project, removal: RemovalRecord) -> RemovalRecord:
    """Write *removal* to its file, and return it."""
    data = msgspec.to_builtins(removal) | {"record": removal.worktree and registry.encode_record(removal.worktree)}
    registry.write_json(_path(project, removal), data)
    return removal


def list_removals(project: Project, slug: str | None = None, *, undone: bool = False) -> list[RemovalRecord]:
    """
    Return the records of all removals, or of those of the worktree *slug*, newest first.

    Args:
        undone: Return those that were undone, instead of those that can be.

    Raises:
        RegistryError: If a record cannot be read.
    """
    found = []
    for path in _folder(project).glob("*.json"):
        try:
            data = registry.read_json(path)
        except FileNotFoundError:
            continue  # another process has just deleted it
        try:
            worktree = registry.decode_record(data["record"]) if data["record"] else None
            found.append(msgspec.convert({**data, "record": worktree}, RemovalRecord))
        except (TypeError, KeyError, ValueError) as error:
            raise registry.unreadable(path, error) from None
    wanted = [removal for removal in found if slug in (None, removal.slug) and removal.undone == undone]
    return sorted(wanted, key=lambda removal: removal.removed_at, reverse=True)


def interrupted_removal(project: Project, record: Record | None) -> RemovalRecord | None:
    """Return the unfinished removal or teardown of the worktree of *record*, if there is one."""
    if record is None or record.state != "removing":
        return None
    return next(iter(list_removals(project, record.slug)), None)


def kept_folder(project: Project, removal: RemovalRecord) -> Path:
    """Return where copies are of the removed worktree's files that git does not save; only their owner may enter."""
    return _folder(project) / removal.key


def delete(project: Project, removal: RemovalRecord) -> None:
    """Delete the record *removal*, the ref that protects its commits, and the files that were kept."""
    delete_tree(kept_folder(project, removal))
    uncommitted.delete(project.repository, removal.reference)
    _path(project, removal).unlink(missing_ok=True)


def _folder(project: Project) -> Path:
    return project.registry.directory / "removed"


def _path(project: Project, removal: RemovalRecord) -> Path:
    return _folder(project) / f"{removal.key}.json"
