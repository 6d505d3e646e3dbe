"""
One-off steps: what has run stands in the record, so that no later call runs it again.

They are what only costs time to repeat (installing, migrating, generating), or must not be repeated on data that
somebody works with (a companion's setup command).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from tasks_lib.plan import Step
    from tasks_lib.worktrees.registry import Registry


def _never() -> bool:
    return False


def run_once(registry: Registry, slug: str, name: str, step: Step, *, stale: Callable[[], bool] = _never) -> Step:
    """
    Return *step* as one that is done when the record of *slug* says that *name* has run.

    Undone, it counts as never run.

    Args:
        stale: Whether it has to run again all the same.
    """

    def do() -> str | None:
        remark = step.do()
        mark_ran(registry, slug, name)
        return remark

    def undo() -> None:
        step.undo()
        clear_ran(registry, slug, {name})

    def done() -> bool:
        found = registry.find(slug)
        return found is not None and name in found.done and not stale()

    return replace(step, do=do, undo=undo, done=done)


def mark_ran(registry: Registry, slug: str, name: str) -> None:
    """Write down that *name* has run."""
    done = registry.require(slug).done
    if name not in done:
        registry.update(slug, done=(*done, name))


def clear_ran(registry: Registry, slug: str, names: Container[str]) -> None:
    """Let *names* count as never run."""
    found = registry.find(slug)
    if found is not None and any(name in names for name in found.done):
        registry.update(slug, done=tuple(name for name in found.done if name not in names))
