"""`goldentree` in a process that kills itself for real."""

from __future__ import annotations

import importlib
import os
import signal
import sys

from tests.forks import Fork


def run(path, where, number, function, *arguments):
    """
    Run `goldentree` in the directory *path* until the *number*th call of *function* begins or ends.

    Return its exit status, negative for a signal, and what it wrote to standard error.
    """
    status, _, said = Fork(_run, (where, number, function), arguments, cwd=path).wait()
    return status, said


def _run(point, arguments):
    from tasks_lib.program import main

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
