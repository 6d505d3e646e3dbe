"""
The record of a worktree: written before anything else is created, marked ready when everything is.

The first step leases the port, so later steps read the record from the registry when they run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from tasks_lib.plan import Step
from tasks_lib.worktrees import ports
from tasks_lib.worktrees.identity import Identity, derive
from tasks_lib.worktrees.registry import current_time

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.target import Target


def derive_identity(project: Project, branch: str, taken_subdomains: Container[str] = ()) -> Identity:
    """Return the names for a worktree of *branch*."""
    settings = project.settings
    return derive(branch, project=settings.project, prefix=settings.prefix, taken_subdomains=taken_subdomains)


def new_record(project: Project, identity: Identity, path: Path, *, base: str | None, made_worktree: bool) -> Record:
    """Return the record of a planned worktree; its port and subdomain are decided when it is saved."""
    from tasks_lib.worktrees.registry import Record

    return Record(
        identity=identity,
        path=str(path),
        port=0,
        state="creating",
        golden=project.settings.template,
        server=project.server.url.masked,
        base=base,
        made_worktree=made_worktree,
    )


def record_step(target: Target) -> Step:
    """
    Return the step that writes the record and leases a port. It runs before anything else is created.

    The record of a removed worktree keeps its names, and its port if that is free.
    """
    return _WriteRecord(target).step()


def ready_step(target: Target) -> Step:
    """Return the step that marks the worktree as complete."""
    return _MarkReady(target).step()


@dataclass(frozen=True)
class _WriteRecord:
    target: Target

    def step(self) -> Step:
        title = f"record {self.target.slug} and lease a port"
        return Step(title, self.do, self.undo, self.done, anchor=True)

    def do(self) -> str:
        record, registry = self.target.record, self.target.registry
        with registry.locked():
            others = [other for other in registry.records() if other.slug != record.slug]
            taken, subdomains = {other.port for other in others}, {other.identity.subdomain for other in others}
            port = _wanted_port(record, taken) or ports.lease(f"{registry.common}:{record.slug}", taken)
            names = record.identity
            if names.subdomain in subdomains:
                free = derive_identity(self.target.project, names.branch, subdomains)
                names = replace(names, subdomain=free.subdomain, dev_url=free.dev_url)
            created_at = record.created_at or current_time()
            leased = msgspec.structs.replace(record, identity=names, port=port, state="creating", created_at=created_at)
            registry.save(leased)
        return f"port {port}"

    def undo(self) -> None:
        self.target.registry.delete(self.target.slug)

    def done(self) -> bool:
        return self.target.find_record() is not None


@dataclass(frozen=True)
class _MarkReady:
    target: Target

    def step(self) -> Step:
        return Step("mark it ready", self.do, done=self.done)

    def do(self) -> None:
        self.target.registry.update(self.target.slug, state="ready")

    def done(self) -> bool:
        record = self.target.find_record()
        return record is not None and record.state == "ready"


def _wanted_port(record: Record, taken: set[int]) -> int | None:
    """Return the port that Conductor assigned to this workspace, else the record's own; None if it is not free."""
    workspace, adopted = os.environ.get("CONDUCTOR_WORKSPACE_PATH"), os.environ.get("CONDUCTOR_PORT", "")
    is_workspace = workspace is not None and os.path.realpath(workspace) == os.path.realpath(record.path)
    if is_workspace and adopted.isdecimal() and int(adopted) not in taken:
        return int(adopted)
    return record.port if record.port and record.port not in taken and ports.is_free(record.port) else None
