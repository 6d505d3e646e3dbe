"""
The standalone binary: the same tasks in any git repository, without a `tasks.py`.
"""

from __future__ import annotations

from invoke.program import Program

from tasks_lib import __version__
from tasks_lib.collections import ns


def main() -> None:
    """Run the binary `goldentree`."""
    Program(namespace=ns, name="goldentree", binary="goldentree", version=__version__).run()
