"""
Notice that a program of a dump, or the server process that works for it, is stopped: it would be waited for for ever.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tasks_lib import waits
from tasks_lib.databases.server.background import repeat_in_background
from tasks_lib.errors import CloneError, GoldentreeError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Collection, Iterator, Sequence

    from tasks_lib.databases.server.connection import Server

LOOK_SECONDS = 2.0
"""How often processes are looked at."""

STOPPED_SECONDS = 10.0
"""How long to wait for one that is stopped."""


@contextmanager
def end_if_stopped(programs: Sequence[subprocess.Popen[bytes]], servers: Collection[Server]) -> Iterator[None]:
    """
    Kill all *programs* if one of them stays stopped during the body, or the process of *servers* that works for it.

    Only processes of this machine can be seen, and those of a server only over TCP.

    Raises:
        CloneError: If they were killed, whatever the body raised.
    """
    since: dict[int, float] = {}
    said: set[int] = set()
    verdict: CloneError | None = None

    def look() -> None:
        nonlocal since, verdict
        found = [process.pid for process in programs if process.poll() is None and waits.is_stopped(process.pid)]
        found = found or _find_stopped_servers(programs, servers)
        since = {pid: since.get(pid, time.monotonic()) for pid in found}
        for pid, moment in since.items():
            error = CloneError(f"process {pid} of the dump is stopped", hint=f"let it continue:\nkill -CONT {pid}")
            if time.monotonic() - moment > STOPPED_SECONDS:
                verdict = error
                for program in programs:
                    program.kill()
            elif pid not in said:
                said.add(pid)
                waits.say(f"waiting up to {STOPPED_SECONDS:g} s, as {error.what}\n{error.hint}")

    try:
        with repeat_in_background(look, seconds=LOOK_SECONDS):
            yield
    except Exception:
        if verdict is not None:
            raise verdict from None
        raise
    if verdict is not None:
        raise verdict


def _find_stopped_servers(programs: Sequence[subprocess.Popen[bytes]], servers: Collection[Server]) -> list[int]:
    """Return the stopped processes of *servers* whose clients are *programs*."""
    import psutil

    stopped = [
        process.pid
        for process in psutil.process_iter(["name", "status"])
        if process.info["status"] == psutil.STATUS_STOPPED and (process.info["name"] or "").startswith("postgres")
    ]
    ports: list[int] = []
    for program in programs if stopped else ():
        with suppress(psutil.Error):
            ports += [found.laddr[1] for found in psutil.Process(program.pid).net_connections("tcp")]
    found = []
    for server in servers if ports else ():
        with suppress(GoldentreeError), server.connect() as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s) AND client_port = ANY(%s)"
            found += [pid for (pid,) in connection.execute(query, [stopped, ports])]
    return found
