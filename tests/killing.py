"""`goldentree` in a process that kills itself for real, forked from one that has imported everything already."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile

_FORKS = multiprocessing.get_context("forkserver")
# `__main__` is pytest's: named here, it is imported once instead of in every child.
_FORKS.set_forkserver_preload(
    [
        "__main__",
        "tests.killing",
        "psycopg",
        "tasks_lib.program",
        "tasks_lib.ledger.ledger",
        "tasks_lib.worktrees.plans.create",
        "tasks_lib.worktrees.plans.remove",
        "tasks_lib.worktrees.plans.undo",
    ]
)


def run(path, where, number, function, *arguments):
    """
    Run `goldentree` in the directory *path* until the *number*th call of *function* begins or ends.

    Return its exit status, negative for a signal, and what it wrote to standard error.
    """
    with tempfile.NamedTemporaryFile() as errors:
        process = _FORKS.Process(
            target=_run, args=(path, dict(os.environ), errors.name, (where, number, function), arguments)
        )
        process.start()
        process.join()
        status = process.exitcode
        process.close()
        return status, errors.read().decode(errors="replace")


def _run(path, environment, errors, point, arguments):
    from tasks_lib.program import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(path)
    os.environ.clear()
    os.environ.update(environment, PWD=str(path))
    for number, file, flags in ((0, os.devnull, os.O_RDONLY), (1, os.devnull, os.O_WRONLY), (2, errors, os.O_WRONLY)):
        os.dup2(os.open(file, flags), number)
    sys.argv = ["goldentree", *arguments]
    _arrange(*point)
    main()


def _arrange(where, number, function):
    module, attribute = function.split(":")
    *path, name = attribute.split(".")
    owner = importlib.import_module(module)
    for part in path:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), 0

    def dying(*arguments, **options):
        nonlocal calls
        calls += 1
        this = calls  # steps of one stage run at the same time
        if where == "before" and this == number:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if where == "after" and this == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)
