"""
A worktree, a database clone, an env file and a port for every git branch.

`from tasks_lib import ns` in a `tasks.py` gives a repository the whole collection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invoke.collection import Collection

    ns: Collection

__version__ = "0.1.0"
__all__ = ["__version__", "ns"]


def __getattr__(name: str) -> Any:
    """Build the root collection on first use, so that `import tasks_lib.identity` costs nothing."""
    if name != "ns":
        raise AttributeError(name)
    from tasks_lib.collections import ns

    return ns
