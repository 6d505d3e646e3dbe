"""
Register the dev URLs with portless (https://github.com/vercel-labs/portless), a local proxy, if it is installed.

A static route leads from a worktree's URL to its port. Nothing depends on it, so a failure is only a warning.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.plan import Step
from tasks_lib.programs import find_program
from tasks_lib.worktrees.registry import PORTLESS
from tasks_lib.worktrees.steps.run_once import mark_ran

if TYPE_CHECKING:
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.target import Target

_PATIENCE_SECONDS = 10


def portless_steps(target: Target) -> list[Step]:
    """Return the step that registers the dev URL, none if portless is not installed or is switched off."""
    return [RegisterRoute(target).step()] if _program() is not None else []


@dataclass(frozen=True)
class RegisterRoute:
    """Registers the worktree's dev URL with portless."""

    target: Target

    def step(self) -> Step:
        """Return the step that does it."""
        return Step("register the dev URL with portless", self.do, self.undo, self.done)

    def do(self) -> str:
        """Add the route; a failure is a warning."""
        record = self.target.require_record()
        if error := _run("alias", _host(record), str(record.port)):
            self.target.narrator.say(f"warning: portless cannot serve {record.identity.dev_url}: {error}")
            return "not registered"
        mark_ran(self.target.registry, self.target.slug, PORTLESS)
        return record.identity.dev_url

    def undo(self) -> None:
        """Remove the route."""
        remove_route(self.target.find_record())

    def done(self) -> bool:
        """Whether the record says that the route is registered."""
        record = self.target.find_record()
        return record is not None and PORTLESS in record.done


def remove_route(record: Record | None) -> None:
    """Remove the route of *record*, if it has one."""
    if record is not None and PORTLESS in record.done and _program() is not None:
        _run("alias", "--remove", _host(record))


def _program() -> str | None:
    # portless's own switch (its README).
    return find_program("portless") if os.environ.get("PORTLESS") != "0" else None


def _host(record: Record) -> str:
    """Return the host of the dev URL; portless adds `.localhost`."""
    return record.identity.dev_url.removeprefix("https://").removesuffix(".localhost")


def _run(*arguments: str) -> str:
    """Run portless and return its error message, empty on success."""
    try:
        result = subprocess.run(
            [_program() or "portless", *arguments],
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
