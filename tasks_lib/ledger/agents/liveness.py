"""
Whether an agent's process is still there.

A pid says something on its own machine only, within its own namespace (containers share a machine and even its
name), and until it is given to another process: so host and start are kept beside it.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.ledger.schema.agents import GONE

if TYPE_CHECKING:
    from tasks_lib.ledger.schema.agents import Agent

_CLOCK_SECONDS = 2
"""By how much a process' start may seem to move: in some containers the time of boot does, in whole seconds."""


@dataclass(frozen=True)
class Process:
    """A process as agents name it: the fields `pid`, `host` and `pid_started_at`."""

    pid: int
    host: str
    pid_started_at: datetime


def process(pid: int) -> Process | None:
    """Return the process *pid* of this machine, None if there is none."""
    started = _started(pid)
    return None if started is None else Process(pid, pid_namespace(), started)


@cache
def pid_namespace() -> str:
    """Return what tells where a pid means the same: the machine's name and, on Linux, the namespace."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return " ".join(filter(None, (socket.gethostname(), namespace)))


def is_lost(agent: Agent) -> bool:
    """Whether *agent*'s process has died; False where that cannot be told."""
    if agent.pid is None or agent.pid_started_at is None or agent.host != pid_namespace():
        return False
    started = _started(agent.pid)
    return started is None or abs((started - agent.pid_started_at).total_seconds()) > _CLOCK_SECONDS


def describe_status(agent: Agent) -> str:
    """Return an agent's status for people: `lost` where it says that it works, and its process has died."""
    return "lost" if agent.status not in GONE and is_lost(agent) else agent.status


def _started(pid: int) -> datetime | None:
    """
    Return when the process *pid* was started, None if it is not there, or only waits to be reaped.

    On Linux, where the kernel counts from the boot, as if that had been in 1970: the time of boot is the clock's less
    the uptime, so whoever sets the clock would make all agents look lost.
    """
    import psutil

    try:
        found = psutil.Process(pid)
        if found.status() == psutil.STATUS_ZOMBIE:
            return None
        boot = psutil.boot_time() if psutil.LINUX else 0
        return datetime.fromtimestamp(found.create_time() - boot, UTC)
    except psutil.NoSuchProcess:
        return None
