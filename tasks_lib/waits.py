"""
Say for whom this process waits, and read who holds a lock file.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.escaping import indent_rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUIET_SECONDS = 1.0
"""How long a wait may last before it is explained."""

_TASK = re.compile(r"[a-z_-]+(\.[a-z_-]+)+")
_SHOWN = 80


def say(text: str) -> None:
    """Print what is waited for on stderr; lines after the first are indented."""
    if sys.stderr is not None:  # closed, as by `2>&-`
        with suppress(OSError):  # its reader has gone
            print(f"… {indent_rest(text)}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Holder:
    """
    The process that holds a lock file, as far as it is known.

    Attributes:
        pid: None if unknown, for example because the process is not visible in our pid namespace.
        place: Where the pid counts, as in `pid_namespace`.
        task: What it runs, such as `worktree.create`; empty if unknown.
        since: When it took the lock, such as `14:05:59`; empty if unknown.
    """

    pid: int | None = None
    place: str = ""
    task: str = ""
    since: str = ""

    @property
    def local(self) -> bool:
        """Whether the pid counts here."""
        return self.pid is not None and self.place == pid_namespace()

    @property
    def stopped(self) -> bool:
        """Whether the process is stopped, by Ctrl-Z or a debugger."""
        return self.pid is not None and self.local and is_stopped(self.pid)

    def __str__(self) -> str:
        """Return what is known: `process 4711 (worktree.create, since 14:05:59, stopped)`."""
        known = [self.task, self.since and f"since {self.since}", "stopped" if self.stopped else ""]
        detail = ", ".join(filter(None, known))
        name = "another process" if self.pid is None else f"process {self.pid}"
        if self.place and not self.local:
            host, _, namespace = self.place.partition(" ")
            name += f" on {host}" + (" in another pid namespace" if namespace else "")
        return f"{name} ({detail})" if detail else name

    @property
    def cure(self) -> str:
        """What can be done about it; the last line is a command on its own if there is one."""
        if self.stopped:
            return f"to end it: kill -KILL {self.pid}; to let it continue:\nkill -CONT {self.pid}"
        if self.local:
            return f"wait for it, then run the same command; to end it if it hangs:\nkill {self.pid}"
        return "wait for it, or end it where it runs, then run the same command"


def is_stopped(pid: int, name: str = "") -> bool:
    """Whether the process *pid* of this machine is stopped, and its program's name begins with *name*."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() in (psutil.STATUS_STOPPED, "tracing-stop") and process.name().startswith(name)
    except psutil.Error:
        return False


def find_stopped_listener(port: int) -> int | None:
    """Return the stopped process of this machine that listens on *port*; None if none is, or we may not know."""
    import psutil

    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    listening = (found for found in connections if found.status == psutil.CONN_LISTEN and found.laddr[1:2] == (port,))
    return next((found.pid for found in listening if found.pid and is_stopped(found.pid)), None)


@contextmanager
def explained(explain: Callable[[], str]) -> Iterator[None]:
    """Say what *explain* returns if the body takes longer than a second."""
    timer = threading.Timer(QUIET_SECONDS, lambda: say(explain()))
    timer.daemon = True
    with suppress(RuntimeError):  # no more threads
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def current_task() -> str:
    """Return the task that this process runs, such as `worktree.create`, else its program; never its arguments."""
    program, *words = sys.argv or [""]
    return next(filter(_TASK.fullmatch, words), Path(program).name)


def only_printable(text: str) -> str:
    """Return the first characters of *text*, which others wrote, without control characters."""
    return "".join(character for character in text[:_SHOWN] if character.isprintable())


@cache
def pid_namespace() -> str:
    """Return the scope in which pids are unique: the machine's name and, on Linux, the pid namespace."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return " ".join(filter(None, (socket.gethostname(), namespace)))


def note_holder(descriptor: int) -> None:
    """Write into the open lock file that this process holds it."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    note = {"pid": os.getpid(), "place": pid_namespace(), "task": current_task(), "since": since}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(note).encode(), 0)


def read_holder(path: Path) -> Holder:
    """Return who holds the lock file *path*. Its note may be another process's, so the kernel is asked too."""
    noted, locking = _read_note(path), read_locking_pids(path, "FLOCK")
    if not locking or (noted.pid if noted.local else 0) in locking:  # 0: a process that our pid namespace does not have
        return noted
    return Holder(locking[0], pid_namespace()) if locking[0] else Holder()


def read_locking_pids(path: Path, kind: str, byte: int = 0) -> list[int]:
    """
    Return the processes that hold an exclusive lock of the *kind* `FLOCK` or `POSIX` on a *byte* of the file *path*.

    Empty if unknown: only Linux lists locks, in `/proc/locks` (man 5 proc_locks). The file is not opened, because to
    close it would release the POSIX locks of this process.
    """
    try:
        inode, table = path.stat().st_ino, Path("/proc/locks").read_text()
    except OSError:
        return []
    rows = [line.split() for line in table.splitlines()]
    return [
        int(row[4])
        for row in rows
        # A row of a process that waits has `->` in its second column.
        if (row[1], row[3]) == (kind, "WRITE")
        and row[5].rpartition(":")[2] == str(inode)
        and int(row[6]) <= byte <= (byte if row[7] == "EOF" else int(row[7]))
    ]


def _read_note(path: Path) -> Holder:
    try:
        with path.open("rb") as file:
            note = json.loads(file.read(1000))
        since = datetime.fromisoformat(note["since"])
        return Holder(
            int(note["pid"]),
            only_printable(note["place"]),
            only_printable(note["task"]),
            f"{since.astimezone():%H:%M:%S}",
        )
    except (OSError, ValueError, TypeError, KeyError):
        return Holder()
