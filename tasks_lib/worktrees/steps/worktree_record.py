"""
The record of a worktree: written before anything else is created, marked ready when everything is.

The first step leases the port, so later steps read the record from the registry when they run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from tasks_lib.plan import Step
from tasks_lib.worktrees import ports
from tasks_lib.worktrees.identity import Identity, derive
from tasks_lib.worktrees.registry import current_time

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from pathlib import Path

    from tasks_lib.git.start import Start
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.target import Target


def derive_identity(project: Project, branch: str, taken_subdomains: Container[str] = ()) -> Identity:
    """Return the names for a worktree of *branch*."""
    settings = project.settings
    return derive(branch, project=settings.project, prefix=settings.prefix, taken_subdomains=taken_subdomains)


def derive_detached_identity(project: Project, path: Path) -> Identity:
    """Return the names for the worktree at *path*, which has no branch: its slug is used for one."""
    identity = derive_identity(project, str(path))
    return replace(identity, branch=identity.slug)


def new_record(project: Project, identity: Identity, path: Path, *, start: Start | None, made_worktree: bool) -> Record:
    """Return the record of a planned worktree; its port and subdomain are decided when it is saved."""
    from tasks_lib.worktrees.registry import Record

    return Record(
        identity=identity,
        path=str(path),
        port=0,
        state="creating",
        golden=project.settings.template,
        server=project.server.url.masked,
        base=start.commit if start else None,
        tracking=start.tracking if start else None,
        made_worktree=made_worktree,
    )


def has_leases(project: Project, record: Record) -> bool:
    """Whether *record* has a number and a port for each name in the settings, which may have gained names."""
    leases = [record.ports.get(name) for name in project.settings.ports] or [record.port]
    return record.number > 0 and None not in leases and leases[0] == record.port


def record_step(target: Target) -> Step:
    """
    Return the step that writes the record and leases a port. It runs before anything else is created.

    The record of a removed worktree keeps its names, and its port if that is free.
    """
    return _WriteRecord(target).step()


def ready_step(target: Target) -> Step:
    """Return the step that marks the worktree as complete."""
    return _MarkReady(target).step()


@dataclass
class _WriteRecord:
    """
    Writes the record.

    Attributes:
        before: The record that lacked some of the leases, None if there was no record.
        begun: Whether this run began to write it.
    """

    target: Target
    before: Record | None = None
    begun: bool = False

    def step(self) -> Step:
        ports = "ports" if len(self._names) > 1 else "a port"
        return Step(f"record {self.target.slug} and lease {ports}", self.do, self.undo, self.done, anchor=True)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.target.project.settings.ports

    def do(self) -> str:
        registry = self.target.registry
        with registry.locked():
            self.before = self.target.find_record()
            record = self.before or self.target.record
            others = [other for other in registry.records() if other.slug != record.slug]
            taken = set[int]().union(*(other.all_ports for other in others))
            subdomains = {other.identity.subdomain for other in others}
            names = record.identity
            if names.subdomain in subdomains:
                free = derive_identity(self.target.project, names.branch, subdomains)
                names = replace(names, subdomain=free.subdomain, dev_url=free.dev_url)
            key = f"{registry.common}:{record.slug}"
            leases = _lease_ports(record, self._names or ("",), taken, key, live=self.before is not None)
            first = next(iter(leases.values()))
            self.begun = True
            registry.save(
                msgspec.structs.replace(
                    record,
                    identity=names,
                    port=first,
                    ports=leases if self._names else {},
                    number=_free_number(record.number, {other.number for other in others}),
                    state=self.before.state if self.before else "creating",
                    created_at=record.created_at or current_time(),
                )
            )
        return ", ".join(f"port {port} {name}".rstrip() for name, port in leases.items())

    def undo(self) -> None:
        if not self.begun:
            return
        if self.before is None:
            self.target.registry.delete(self.target.slug)
        else:
            self.target.registry.save(self.before)

    def done(self) -> bool:
        record = self.target.find_record()
        return record is not None and has_leases(self.target.project, record)


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


def _lease_ports(record: Record, names: Sequence[str], taken: set[int], key: str, *, live: bool) -> dict[str, int]:
    """
    Return a port for each of *names*: the one that *record* has if possible, else a free one.

    Args:
        taken: Ports leased by other worktrees.
        key: Text that is stable for the worktree; the ports of named leases depend on the names as well.
        live: Whether the worktree exists, so that its own application may listen on its ports.

    Raises:
        WorktreeError: If no port is free.
    """
    leases: dict[str, int] = {}
    for index, name in enumerate(names):
        own = [record.ports.get(name, 0)]
        if index == 0 and record.port not in record.ports.values():
            own.append(record.port)
        kept = [port for port in own if port and (live or ports.is_free(port))]
        assigned = _conductor_ports(record)[index : index + 1]
        wanted = [*kept, *assigned] if live else [*assigned, *kept]
        held = {*taken, *leases.values()}
        leases[name] = next((port for port in wanted if port not in held), 0) or ports.lease(
            f"{key}:{name}".removesuffix(":"), held | set(record.ports.values())
        )
    return leases


def _conductor_ports(record: Record) -> list[int]:
    """Return the ports that Conductor assigned to this workspace."""
    # "CONDUCTOR_PORT through CONDUCTOR_PORT+9": https://docs.conductor.build/guides/how-to-run
    workspace, first = os.environ.get("CONDUCTOR_WORKSPACE_PATH"), os.environ.get("CONDUCTOR_PORT", "")
    is_workspace = workspace is not None and os.path.realpath(workspace) == os.path.realpath(record.path)
    return list(range(int(first), int(first) + 10)) if is_workspace and first.isdecimal() else []


def _free_number(wanted: int, taken: set[int]) -> int:
    """Return *wanted* if it is a number that no other worktree has, else the lowest such number from 1."""
    if wanted and wanted not in taken:
        return wanted
    return next(number for number in count(1) if number not in taken)
