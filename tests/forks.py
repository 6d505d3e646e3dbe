"""Processes forked from one that has imported everything already: to start Python costs more than most of them do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
# `__main__` is pytest's: named here, it is imported once instead of in every child.
_FORKS.set_forkserver_preload(
    [
        "__main__",
        "tests.killing",
        "invoke.main",
        "psycopg",
        "tasks_lib.program",
        "tasks_lib.databases.clone.clone",
        "tasks_lib.databases.clone.strategy",
        "tasks_lib.ledger.ledger",
        "tasks_lib.ledger.work.queue",
        "tasks_lib.worktrees.plans.create",
        "tasks_lib.worktrees.plans.remove",
        "tasks_lib.worktrees.plans.undo",
    ]
)


class Fork:
    """A process that runs *function*, which its module must name, without standard input."""

    def __init__(self, function, *arguments, cwd=None, env=None):
        self._folder = tempfile.TemporaryDirectory()
        self._out, self._err = (Path(self._folder.name, name) for name in ("out", "err"))
        place = (str(cwd or Path.cwd()), {**os.environ, **(env or {})}, self._out, self._err)
        self._process = _FORKS.Process(target=_run, args=(place, function, arguments))
        self._process.start()
        self.pid = self._process.pid

    def read_line(self):
        """Wait for the first line that it writes to stdout, and return it."""
        while not self._out.exists() or not (text := self._out.read_text()).endswith("\n"):
            assert self._process.is_alive()
            time.sleep(0.01)
        return text

    def wait(self, timeout=120):
        """Return its exit status, negative for a signal, and what it wrote to stdout and stderr."""
        self._process.join(timeout)
        status = self._process.exitcode
        assert status is not None, "it does not end"
        self._process.close()
        with self._folder:
            return status, *(file.read_text(errors="replace") for file in (self._out, self._err))


def python(code, *arguments):
    """Start `python -c CODE ARGUMENTS`."""
    return Fork(_execute, code, *map(str, arguments))


def inv(*arguments, cwd, env):
    """Start `inv` in the directory *cwd*, with *env* added to the environment."""
    return Fork(_invoke, *arguments, cwd=cwd, env=env)


def _invoke(*arguments):
    from invoke.main import program

    sys.argv = ["inv", *arguments]
    program.run()


def _execute(code, *arguments):
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})


def _run(place, function, arguments):
    directory, environment, out, err = place
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment, PWD=directory)
    for number, file in enumerate((os.devnull, out, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY), number)
    function(*arguments)
