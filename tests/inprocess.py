"""Invoke's own `inv` without a process of its own: the same program, tasks and output, in half the time."""

from __future__ import annotations

import copy
import os
import pty
import signal
import subprocess
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import invoke
from invoke import collection
from invoke.collection import Collection
from invoke.parser import Parser, ParserContext
from invoke.program import Program
from invoke.tasks import Task

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
"""What tasks choose to ignore or to die of; children inherit what is ignored."""


class _Copy:
    """What Invoke's collections know as the module `copy`: they copy all tasks, which nothing changes."""

    @staticmethod
    def deepcopy(value):
        return value if isinstance(value, (Collection, Task)) else copy.deepcopy(value)


collection.copy = _Copy


class _Program(Program):
    """
    Invoke, which parses the arguments only of those tasks that the command line names.

    To do it for all of them takes longer than most of our tasks.
    """

    def _make_parser(self):
        words = {word.replace("_", "-") for word in sys.argv}
        names, quiet = self.collection.task_names, self.config.tasks.ignore_unknown_help
        named = [
            name for name in names if not words.isdisjoint(word.replace("_", "-") for word in (name, *names[name]))
        ]
        if "--complete" in words:
            named = names
        contexts = [
            ParserContext(name=name, aliases=names[name], args=self.collection[name].get_arguments(quiet))
            for name in named
        ]
        return Parser(initial=self.initial_context, contexts=contexts)


def inv(path, environment, *arguments, text=""):
    """Run `inv` in the directory *path*, with *text* for its standard input, and return what a process would leave."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(text.encode())
        given.seek(0)
        with _as_a_process(path, environment, ["inv", *arguments], (given, out, err)):
            status = _status()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read().decode(), err.read().decode())


def inv_in_terminal(path, environment, *arguments):
    """Run `inv` as `inv` does, but with a terminal for its output; return its status and what the terminal received."""
    terminal, end = pty.openpty()
    with ThreadPoolExecutor() as reader, os.fdopen(end, "wb", buffering=0) as out, Path(os.devnull).open("rb") as given:
        received = reader.submit(_read_terminal, terminal)
        with _as_a_process(path, environment, ["inv", *arguments], (given, out, out)):
            status = _status()
        out.close()
        return status, received.result()


def _read_terminal(terminal):
    received = b""
    with suppress(OSError):  # Linux: EIO, once no process has the other end open
        while chunk := os.read(terminal, 65536):
            received += chunk
    os.close(terminal)
    return received.decode(errors="surrogateescape")


def _status():
    # As invoke/main.py makes it.
    program = _Program(name="Invoke", binary="inv[oke]", binary_names=["invoke", "inv"], version=invoke.__version__)
    try:
        program.run()
    except SystemExit as exit_:
        return exit_.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def _as_a_process(path, environment, argv, files):
    """Give the body a process's own: arguments, directory, environment, standard streams, the module `tasks`."""
    before, directory, import_path = dict(os.environ), Path.cwd(), list(sys.path)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    streams, own = (sys.argv, sys.stdin, sys.stdout, sys.stderr), [os.dup(number) for number in range(3)]
    with ExitStack() as opened:
        # Of the file descriptors themselves: children inherit them.
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number)
        sys.argv = argv
        sys.stdin = opened.enter_context(open(0, closefd=False))
        sys.stdout = opened.enter_context(open(1, "w", encoding="utf-8", closefd=False))
        sys.stderr = opened.enter_context(open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False))
        os.chdir(path)
        os.environ.update(environment, PWD=str(path))
        try:
            yield
        finally:
            opened.close()
            sys.argv, sys.stdin, sys.stdout, sys.stderr = streams
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for number, saved in enumerate(own):
                os.dup2(saved, number)
                os.close(saved)
            sys.modules.pop("tasks", None)
            sys.path[:] = import_path
            os.environ.clear()
            os.environ.update(before)
            os.chdir(directory)
