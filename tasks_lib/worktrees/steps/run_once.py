"""
Steps that run once per worktree or database: the record lists the ones that have run.

They are slow to repeat (install, migrate, generate), or unsafe to repeat on data in use (a companion's setup command).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from tasks_lib.plan import Step
    from tasks_lib.worktrees.registry import Registry


def _never() -> bool:
    return False


def run_once(registry: Registry, slug: str, name: str, step: Step, *, stale: Callable[[], bool] = _never) -> Step:
    """
    Return *step* with a `done` that is true once the record of *slug* lists *name*.

    Undoing it removes the name from the record.

    Args:
        stale: Returns whether the step has to run again anyway.
    """
    once = _Once(registry, slug, name, step, stale)
    return replace(step, do=once.do, undo=once.undo, done=once.done, forgets=not step.reverts)


@dataclass(frozen=True)
class _Once:
    registry: Registry
    slug: str
    name: str
    step: Step
    stale: Callable[[], bool]

    def do(self) -> str | None:
        remark = self.step.do()
        mark_ran(self.registry, self.slug, self.name)
        return remark

    def undo(self) -> None:
        self.step.undo()
        clear_ran(self.registry, self.slug, {self.name})

    def done(self) -> bool:
        record = self.registry.find(self.slug)
        return record is not None and self.name in record.done and not self.stale()


def mark_ran(registry: Registry, slug: str, name: str) -> None:
    """Add *name* to the steps that have run, according to the record of *slug*."""
    done = registry.require(slug).done
    if name not in done:
        registry.update(slug, done=(*done, name))


def clear_ran(registry: Registry, slug: str, names: Container[str]) -> None:
    """Remove *names* from the steps that have run, according to the record of *slug*."""
    record = registry.find(slug)
    if record is not None and any(name in names for name in record.done):
        registry.update(slug, done=tuple(name for name in record.done if name not in names))
