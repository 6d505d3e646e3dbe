"""
Find the live server of a data directory, by its `postmaster.pid` and by what the process named there is.

`kill -9`, a reboot or the end of a container leaves that file behind, and another process soon gets the same process
id (in a container within seconds). `pg_ctl status` and the server itself trust the file. It also belongs to the account
that runs the server: if we are root, what it says must not make us follow a link, or end a process of another account.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath

from tasks_lib.databases.server.embedded.account import read_small_file


@dataclass(frozen=True)
class PidFile:
    """
    What `postmaster.pid` says.

    Attributes:
        started: When the server started, in seconds since 1970.
        port: None while it starts.
        state: `starting`, `stopping`, `ready` or `standby`; empty at first. It stays `ready` during a crash recovery.
    """

    pid: int | None
    started: float
    port: int | None
    state: str

    @property
    def ready(self) -> bool:
        """Whether the server has said that it accepts connections."""
        return self.state == "ready"


def read_pid_file(data: Path) -> PidFile | None:
    """
    Return what the pid file of the directory *data* says, None if there is none.

    Raises:
        ServerError: If it is not an ordinary file.
        OSError: If it cannot be read.
    """
    file = data / "postmaster.pid"
    if (text := read_small_file(file)) is None:
        return None
    # Pid, data directory, start time, port, ..., and on line 8 the state (src/include/utils/pidfile.h).
    lines = [*(line.strip() for line in text.splitlines()), *[""] * 8]
    try:
        started = float(int(lines[2]))
    except ValueError:  # killed while it wrote the file
        started = file.lstat().st_mtime
    return PidFile(_number(lines[0]), started, _number(lines[3]), lines[7])


def find(data: Path) -> PidFile | None:
    """
    Return the pid file of the directory *data* if the process that it names is its server, else None.

    Raises:
        ServerError, OSError: If that cannot be found out.
    """
    found = read_pid_file(data)
    return found if found and found.pid and _is_server(found.pid, data) else None


def is_postmaster(pid: int) -> bool:
    """Whether *pid* is a `postgres` that was started for a data directory, and not one that it started itself."""
    return _runs_postgres(_look_at(pid)[1])


def _runs_postgres(command: list[str]) -> bool:
    # As pg_ctl starts it. It is not the first argument where programs are emulated. The executable itself is hidden
    # from the root of a container.
    directory = command.index("-D") if "-D" in command else 0
    return "postgres" in {PurePath(argument).name for argument in command[:directory]}


def _is_server(pid: int, data: Path) -> bool:
    """Whether *pid* is the postmaster of the directory *data*, and belongs to the account that owns it."""
    owner, command, place = _look_at(pid)
    here = data.stat()
    if owner != here.st_uid or not _runs_postgres(command):
        return False
    # Where it works may be hidden, too.
    return os.path.samestat(place, here) if place else ("-D", str(data)) in pairwise(command)


def _look_at(pid: int) -> tuple[int | None, list[str], os.stat_result | None]:
    """Return the user, the arguments and the directory of the process *pid*, as far as they can be seen."""
    process, place = Path(f"/proc/{pid}"), None
    if Path("/proc/self").exists():
        try:
            owner, command = process.stat().st_uid, process.joinpath("cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None, [], None
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            place = process.joinpath("cwd").stat()
        return owner, command.decode(errors="replace").split("\0"), place
    import psutil  # macOS; takes 50 ms to import

    try:
        found = psutil.Process(pid)
        with suppress(psutil.AccessDenied, OSError):
            place = Path(found.cwd()).stat()
        return found.uids().effective, found.cmdline(), place
    except psutil.Error:
        return None, [], None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None
