"""
Find the live server of a data directory, by its `postmaster.pid` and the command line of the process named there.

`kill -9`, a reboot or the end of a container leaves that file behind, and another process soon gets the same process
id (in a container within seconds). `pg_ctl status` and the server itself trust the file, so we look at the process too.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

_POLL = 0.02
"""Seconds between two checks of a server that is starting or stopping."""


@dataclass(frozen=True)
class Postmaster:
    """The live main process of a server; *ready* when it accepts connections."""

    data: Path
    pid: int
    port: int
    ready: bool

    def end(self, how: signal.Signals, patience: float) -> bool:
        """Send the signal *how*, and return whether the server has ended within *patience* seconds."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, how)
        deadline = time.monotonic() + patience
        while find(self.data):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True


def find(data: Path) -> Postmaster | None:
    """Return the live server of the directory *data*, None if it has none."""
    try:
        # Lines 1, 2, 4: pid, data directory, port; the eighth is the state (src/include/utils/pidfile.h).
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid, directory, port = int(lines[0]), lines[1], int(lines[3])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    if f"-D {directory}" not in _command_line(pid):  # as pg_ctl starts it
        return None
    return Postmaster(data, pid, port, ready=lines[7:] != [] and lines[7].strip() == "ready")


def await_ready(data: Path, patience: float) -> bool:
    """Return whether *data* has a ready server; wait up to *patience* seconds for one that is starting or stopping."""
    deadline = time.monotonic() + patience
    while (server := find(data)) and not server.ready and time.monotonic() < deadline:
        time.sleep(_POLL)
    return server is not None and server.ready


def remove_stale_pid_file(data: Path) -> None:
    """Remove a pid file without a live server, because the next server would believe it."""
    if find(data) is None:
        (data / "postmaster.pid").unlink(missing_ok=True)


def _command_line(pid: int) -> str:
    """Return the command line of process *pid*; empty if it has ended, even if its parent has not collected it yet."""
    if Path("/proc/self").exists():  # Linux, whose slim images have no `ps`
        try:
            return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            return ""
    listing = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(listing, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
