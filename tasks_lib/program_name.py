"""
Name the program that was called in the commands that we print.

Texts in the source say `inv`, as the documentation does. Who called `goldentree` may have no `inv`, or no `tasks.py`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from functools import lru_cache
from pathlib import Path

COMMAND = re.compile(r"\binv (?=-|[a-z]+\.[a-z]|(?:doctor|init|demo)\b)")
"""The beginning of a command in our texts."""

_BINARIES = {"inv", "invoke", "goldentree"}
_MODULES = {"invoke", "tasks_lib"}


def name_program(text: str) -> str:
    """Return *text* with the program that was called instead of `inv` in each command."""
    return COMMAND.sub(lambda _: f"{called_program()} ", text)


def called_program() -> str:
    """Return the shortest command that runs the called program again; `inv` where another program uses this package."""
    return _find_program(sys.argv[0], os.environ.get("PATH", ""), "UV" in os.environ)


@lru_cache
def _find_program(called: str, path: str, private: bool) -> str:
    """
    Return the command that runs the program *called* again.

    Args:
        private: Whether *path* may be ours alone: `uvx` and `uv run` put a directory before the shell's own.
    """
    program = Path(called)
    if program.name == "__main__.py" and program.parent.name in _MODULES:
        words = sys.orig_argv
        return shlex.join([*words[: words.index("-m")], "-m", program.parent.name] if "-m" in words else words[:2])
    if program.name not in _BINARIES:
        return "inv"
    if "/" not in called:
        return called
    found = shutil.which(program.name, path=path)
    if found and not private and os.path.realpath(found) == os.path.realpath(called):
        return program.name
    return shlex.quote(os.path.abspath(called))  # noqa: PTH100 - a link in `bin` is what was called
