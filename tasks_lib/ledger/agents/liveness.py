"""
Check whether an agent's process is alive.

A pid identifies a process only on its machine, in its pid namespace (containers share a machine and even its name),
and until the number is reused. So an agent's row has the host and the start time of the process as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks_lib.ledger.schema.agents import GONE
from tasks_lib.waits import pid_namespace

if TYPE_CHECKING:
    from tasks_lib.ledger.schema.agents import Agent

_CLOCK_SECONDS = 2
"""Tolerance for a process's start time: in some containers the boot time moves by whole seconds."""


@dataclass(frozen=True)
class Process:
    """The fields `pid`, `host` and `pid_started_at` of an agent."""

    pid: int
    host: str
    pid_started_at: datetime


def process(pid: int) -> Process | None:
    """Return the process *pid* of this machine, None if it does not exist."""
    started = _started(pid)
    return None if started is None else Process(pid, pid_namespace(), started)


def is_lost(agent: Agent) -> bool:
    """Whether *agent*'s process has died; False if unknown."""
    if agent.pid is None or agent.pid_started_at is None or agent.host != pid_namespace():
        return False
    started = _started(agent.pid)
    return started is None or abs((started - agent.pid_started_at).total_seconds()) > _CLOCK_SECONDS


def describe_status(agent: Agent) -> str:
    """Return an agent's status, or `lost` if its process has died without a change of status."""
    return "lost" if agent.status not in GONE and is_lost(agent) else agent.status


def _started(pid: int) -> datetime | None:
    """
    Return the start time of the process *pid*, None if it does not exist or is a zombie.

    On Linux the time counts from the boot, as if that had been in 1970. The boot time is computed from the clock and
    the uptime, so setting the clock would make all agents look lost.
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
