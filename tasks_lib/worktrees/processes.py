"""
Find and end the processes that run in a worktree: dev servers, watchers, shells.

Deleting a worktree under them leaves half a directory, and servers that keep their ports.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import WorktreeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psutil

GRACE_SECONDS = 2.0
"""How long processes may take to exit after SIGTERM."""

_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class RunningProcess:
    """
    A process.

    Attributes:
        name: The program's name; never its arguments, which may hold passwords.
        cwd: Its working directory, which may be deleted.
    """

    pid: int
    name: str
    cwd: Path
    handle: psutil.Process = field(repr=False, compare=False)


@dataclass(frozen=True)
class EndedProcess:
    """A process that was ended, and by which signal: `TERM` or `KILL`."""

    pid: int
    name: str
    cwd: Path
    signal: str


def find_processes_in(path: Path) -> list[RunningProcess]:
    """
    Return the processes whose working directory is *path* or inside it, by pid.

    Without this process and its ancestors, such as the shell, and without processes of other users, whose
    working directory is not readable.
    """
    import psutil

    top = os.path.realpath(path)
    me = psutil.Process()
    spared = {1, me.pid, *(ancestor.pid for ancestor in me.parents())}
    found = []
    for handle in psutil.process_iter(["name", "cwd"]):
        # psutil takes off the ` (deleted)` that Linux adds; None where we may not look.
        name, cwd = (handle.info[key] for key in ("name", "cwd"))
        if handle.pid not in spared and cwd and Path(cwd).is_relative_to(top):
            found.append(RunningProcess(handle.pid, name or "?", Path(cwd), handle))
    return sorted(found, key=lambda process: process.pid)


def end_processes(running: Sequence[RunningProcess], grace: float = GRACE_SECONDS) -> list[EndedProcess]:
    """
    End processes: TERM to all, KILL to those that are still there *grace* seconds later.

    Returns:
        The ended processes, without those that had exited by themselves. A pid that was reused is not
        touched: psutil compares start times.

    Raises:
        WorktreeError: If one may not be ended, and then none is; or if one cannot be killed.
    """
    for process in running:
        _send(process, 0)
    asked = [process for process in running if _send(process, signal.SIGTERM)]
    stubborn = _wait(asked, grace)
    killed = [process for process in stubborn if _send(process, signal.SIGKILL)]
    left = _wait(killed, GRACE_SECONDS)
    if left:
        raise WorktreeError(
            f"{_describe(left[0])} cannot be killed", why="the kernel keeps it, as a rule while it waits for a disk"
        )
    return [
        EndedProcess(process.pid, process.name, process.cwd, "KILL" if process in killed else "TERM")
        for process in asked
    ]


def _send(process: RunningProcess, number: int) -> bool:
    """Send a signal (0 only asks whether we may); return whether the process was there to get it."""
    import psutil

    try:
        process.handle.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        raise WorktreeError(
            f"{_describe(process)} may not be ended", why="it belongs to another user", hint=f"sudo kill {process.pid}"
        ) from None
    return True


def _wait(running: Sequence[RunningProcess], seconds: float) -> list[RunningProcess]:
    """Wait until all have ended, *seconds* at most, and return those that have not."""
    deadline = time.monotonic() + seconds
    while (left := [process for process in running if _is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    return left


def _is_alive(process: RunningProcess) -> bool:
    import psutil

    try:
        # A process whose parent has not collected it yet is dead.
        return process.handle.is_running() and process.handle.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _describe(process: RunningProcess) -> str:
    return f"process {process.pid} (`{process.name}` in {process.cwd})"
