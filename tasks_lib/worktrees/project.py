"""
A project: one repository with its settings, its registry and its server. Every task starts with one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import WorktreeError
from tasks_lib.git.repository import list_worktrees
from tasks_lib.git.start import find_base_branch
from tasks_lib.worktrees.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.databases.clone.strategy import CloneOptions
    from tasks_lib.databases.ownership.comment import Owner
    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.connection import Server
    from tasks_lib.git.repository import Repository
    from tasks_lib.settings import Settings
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Project:
    """
    One repository and everything that this tool knows about it.

    Attributes:
        looks: Whether the command only looks: then it starts no server, and writes nothing.
        connects: Whether the command uses databases. Otherwise it only writes their URLs, and starts no server.
        cache: What takes long to find in a large repository, and does not change while a command runs.
    """

    repository: Repository
    settings: Settings
    looks: bool = False
    connects: bool = True
    cache: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def registry(self) -> Registry:
        """The repository's registry."""
        return Registry(self.repository.common, self.looks)

    @cached_property
    def server(self) -> Server:
        """
        The server of the clones. The embedded one is started if none is configured and the command uses databases.

        Raises:
            SettingsError: If `DATABASE_URL` cannot be used.
            ServerError: If the embedded server cannot be started, or is not running.
        """
        from tasks_lib.databases.server.from_settings import configured_server, named_server, running_server

        if self.looks:
            return running_server(self.settings)
        return configured_server(self.settings) if self.connects else named_server(self.settings)

    def source(self, golden: str | None = None) -> Source:
        """Return the source of clones: the golden template *golden*, by default the configured one."""
        from tasks_lib.databases.ownership.source import Source

        folder = self.registry.directory / "databases"
        return Source(self.server, golden or self.settings.template, self.registry.signer, folder, self.looks)

    def owner(self, slug: str) -> Owner:
        """Return the owner of the databases of the worktree *slug*."""
        from tasks_lib.databases.ownership.comment import Owner

        return Owner(self.registry.signer, slug)

    def clone_options(self, *, fresh: bool = False, evict_idle: bool = False) -> CloneOptions:
        """Return how clones are wanted: as configured, and with these flags."""
        from tasks_lib.databases.clone.strategy import CloneOptions

        return CloneOptions(self.settings.clone_method, fresh, evict_idle, self.settings.golden_max_age)

    @cached_property
    def env_name(self) -> str:
        """Name of the env file that is rewritten in every linked worktree."""
        return self.settings.style_files[0]

    @property
    def shared_env_name(self) -> str | None:
        """Name of the env file that linked worktrees share by a link, None if they copy."""
        return next(iter(self.settings.style_files[1:]), None)

    @property
    def base_branch(self) -> str:
        """
        The branch that new ones start from and are merged into: `worktree.base`, else the default branch.

        Raises:
            GitError: If it is unknown.
        """
        return find_base_branch(self.repository, self.settings.base)

    def find(self, name: str) -> tuple[Path | None, Record | None]:
        """
        Return the path and the record of the linked worktree *name*. Either may be missing, not both.

        Args:
            name: A branch as it is checked out now, a branch at creation, a slug, or a path.

        Raises:
            WorktreeError: If no linked worktree has that name.
        """
        listed = list_worktrees(self.repository.main)
        records = self.registry.records()
        path = next((row.path for row in listed if name == row.branch), None)
        path = path or next((row.path for row in listed if os.path.realpath(name) == os.path.realpath(row.path)), None)
        if path is not None and path == self.repository.main:
            raise WorktreeError(f"`{name}` is checked out in the main worktree", why=f"{path} is the repository itself")
        if path is not None:
            return path, self.record_at(path)
        record = next((record for record in records if name in (record.identity.branch, record.slug)), None)
        if record is None:
            known = ", ".join(row.branch or str(row.path) for row in listed[1:]) or "none"
            raise WorktreeError(f"no worktree of `{name}` was found", why=f"linked worktrees: {known}")
        return self.registry.paths().get(record.slug), record

    def record_at(self, path: Path) -> Record | None:
        """Return the record of the linked worktree at *path*, None if this tool does not know it."""
        slug = next((slug for slug, place in self.registry.paths().items() if place == path), None)
        return self.registry.find(slug) if slug else None

    def require_record_here(self) -> Record:
        """
        Return the record of the current linked worktree.

        Raises:
            WorktreeError: In the main worktree, or in one that has no record.
        """
        here = self.require_linked()
        record = self.record_at(here)
        if record is None:
            raise WorktreeError(
                f"`{here}` has no database of its own yet",
                why="it was created without this tool",
                hint="inv worktree.db",
            )
        return record

    def require_linked(self) -> Path:
        """
        Return the path of the current linked worktree.

        Raises:
            WorktreeError: In the main worktree, whose database no task here changes.
        """
        if not self.repository.linked:
            raise WorktreeError(
                f"`{self.repository.current}` is the main worktree",
                why="its database is not managed by this tool; only linked worktrees have clones",
                hint="inv worktree.create BRANCH, then run this there",
            )
        return self.repository.current
