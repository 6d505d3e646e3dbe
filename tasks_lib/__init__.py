"""
A worktree, a database clone, an env file and a port for every git branch.

`from tasks_lib import ns` in a `tasks.py` gives a repository the whole collection. The functions do the same from
Python: `docs/reference/python.md`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks_lib.api import (
        create_worktree,
        list_worktrees,
        open_ledger,
        open_project,
        remove_worktree,
        undo_removal,
    )
    from tasks_lib.collections import ns
    from tasks_lib.errors import GoldentreeError

__version__ = "0.1.0"
__all__ = [
    "GoldentreeError",
    "__version__",
    "create_worktree",
    "list_worktrees",
    "ns",
    "open_ledger",
    "open_project",
    "remove_worktree",
    "undo_removal",
]

_MODULES = {"ns": "tasks_lib.collections", "GoldentreeError": "tasks_lib.errors"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing one module does not load all of them."""
    if name not in __all__:
        raise AttributeError(f"module `tasks_lib` has no attribute `{name}`", name=name)
    return getattr(import_module(_MODULES.get(name, "tasks_lib.api")), name)


def __dir__() -> list[str]:
    """Return the public names as well; Python lists only what was imported."""
    return sorted({*globals(), *__all__})
