"""
The record of a worktree: derived and written down before anything else is made, marked ready when all of it is.

Other steps read it from the registry when they run: the port is leased by the first of them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from tasks_lib.plan import Step
from tasks_lib.worktrees import ports
from tasks_lib.worktrees.identity import Identity, derive
from tasks_lib.worktrees.registry import now

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


def derive_identity(project: Project, branch: str, taken_subdomains: Container[str] = ()) -> Identity:
    """Return the names for a worktree of *branch*."""
    settings = project.settings
    return derive(branch, project=settings.project, prefix=settings.prefix, taken_subdomains=taken_subdomains)


def new_record(project: Project, identity: Identity, path: Path, *, base: str | None, made_worktree: bool) -> Record:
    """Return the record of a worktree to be made; its port and subdomain are settled when it is saved."""
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


def record_step(project: Project, record: Record) -> Step:
    """
    Return the step that writes *record* down and leases its port, before anything else is made.

    One that was removed keeps its names, and its port where that is free.
    """
    registry = project.registry

    def do() -> str:
        with registry.locked():
            others = [other for other in registry.records() if other.slug != record.slug]
            taken, subdomains = {other.port for other in others}, {other.identity.subdomain for other in others}
            port = _wanted_port(record, taken) or ports.lease(f"{project.registry.common}:{record.slug}", taken)
            names = record.identity
            if names.subdomain in subdomains:
                free = derive_identity(project, names.branch, subdomains)
                names = replace(names, subdomain=free.subdomain, dev_url=free.dev_url)
            created = record.created or now()
            registry.save(replace(record, identity=names, port=port, state="creating", created=created))
        return f"port {port}"

    return Step(
        f"write down {record.slug} and lease a port",
        do,
        undo=lambda: registry.delete(record.slug),
        done=lambda: registry.find(record.slug) is not None,
        anchor=True,
    )


def ready_step(project: Project, record: Record) -> Step:
    """Return the step that says the worktree is complete."""

    def do() -> None:
        project.registry.update(record.slug, state="ready")

    def done() -> bool:
        found = project.registry.find(record.slug)
        return found is not None and found.state == "ready"

    return Step("mark it ready", do, done=done)


def _wanted_port(record: Record, taken: set[int]) -> int | None:
    """Return the port that Conductor gave the workspace, if this is it, or the record's own; None where it is held."""
    workspace, adopted = os.environ.get("CONDUCTOR_WORKSPACE_PATH"), os.environ.get("CONDUCTOR_PORT", "")
    here = workspace is not None and os.path.realpath(workspace) == os.path.realpath(record.path)
    if here and adopted.isdecimal() and int(adopted) not in taken:
        return int(adopted)
    return record.port if record.port and record.port not in taken and ports.is_free(record.port) else None
