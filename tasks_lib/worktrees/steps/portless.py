"""
portless (https://github.com/vercel-labs/portless): the proxy behind the dev URLs, where it is installed.

A worktree's URL leads to its port by a static route. Nothing depends on it: what portless cannot do is a warning.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from tasks_lib.plan import Step
from tasks_lib.worktrees.steps.run_once import mark_ran

if TYPE_CHECKING:
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

_ONE_OFF = "portless"
_PATIENCE_SECONDS = 10


def portless_steps(project: Project, record: Record, narrator: Narrator) -> list[Step]:
    """Return the step that registers the worktree's dev URL; none where portless is not there, or is switched off."""
    if _program() is None:
        return []

    def do() -> str:
        found = project.registry.require(record.slug)
        trouble = _run("alias", _host(found), str(found.port))
        if trouble:
            narrator.say(f"warning: portless cannot serve {found.identity.dev_url}: {trouble}")
            return "not registered"
        mark_ran(project.registry, record.slug, _ONE_OFF)
        return found.identity.dev_url

    def done() -> bool:
        found = project.registry.find(record.slug)
        return found is not None and _ONE_OFF in found.done

    return [Step("tell portless", do, undo=lambda: remove_route(project.registry.find(record.slug)), done=done)]


def remove_route(record: Record | None) -> None:
    """Take the route of *record* away, if there is one."""
    if record is not None and _ONE_OFF in record.done and _program() is not None:
        _run("alias", "--remove", _host(record))


def _program() -> str | None:
    # portless's own switch (its README).
    return shutil.which("portless") if os.environ.get("PORTLESS") != "0" else None


def _host(record: Record) -> str:
    """Return the host of the dev URL; portless adds `.localhost`."""
    return record.identity.dev_url.removeprefix("https://").removesuffix(".localhost")


def _run(*arguments: str) -> str:
    """Run portless; return what it said when it failed, empty when it did not."""
    try:
        result = subprocess.run(
            ["portless", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (result.stderr or result.stdout).strip() if result.returncode else ""
