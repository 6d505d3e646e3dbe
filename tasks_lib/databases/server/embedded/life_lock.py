"""
Hold a lock for as long as a server lives, and say where it lives.

`postmaster.pid` names a pid, which means nothing in another container or on another machine that shares the directory.
So the server inherits a descriptor of the file `server.lock`, which is locked. The lock belongs to the open file, so it
stays until the last process of the server has ended, also one that outlives its postmaster and still writes; and the
kernel shows it in all its containers. The file says where the server was started, for those who find it locked.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from tasks_lib.databases.server.embedded.account import read_small_file
from tasks_lib.errors import ServerError
from tasks_lib.waits import pid_namespace

_START_SECONDS = 120
"""How long after the lock was taken the server's start time may be, on an overloaded machine."""


@dataclass(frozen=True)
class Origin:
    """
    Where a server was started.

    Attributes:
        place: The machine and the pid namespace, as in `pid_namespace`.
        boot: The boot of the kernel, as in `boot_id`.
        since: When the lock was taken, in seconds since 1970.
        started: When the server started, as its pid file says; None while that is not known.
    """

    place: str
    boot: str
    since: float
    started: float | None = None

    @property
    def same_kernel(self) -> bool:
        """Whether it was started on the kernel that runs us, in whatever container."""
        return self.boot == boot_id() != ""

    @property
    def here(self) -> bool:
        """Whether its pids count here."""
        if not self.boot:
            return self.place == pid_namespace()
        # Not by the machine's name, which changes with the network that a laptop is in.
        return self.same_kernel and self.place.partition(" ")[2] == pid_namespace().partition(" ")[2]

    def is_of(self, moment: float) -> bool:
        """Whether the server that started at *moment* has held this lock, and is not a later one that holds none."""
        return -2 < moment - self.since < _START_SECONDS if self.started is None else moment == self.started

    def __str__(self) -> str:
        """Return `on devbox in another container or pid namespace, since 2026-11-28 11:02:03`."""
        host, *namespace = "".join(filter(str.isprintable, self.place))[:80].split()[:2] or ["?"]
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        there = f" in another container or pid namespace ({namespace[0]})" if namespace and self.same_kernel else ""
        return f"on `{host}`{there}, since {moment}"


@cache
def boot_id() -> str:
    """Return what names this boot of this kernel, the same in all its containers; empty if unknown."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):  # macOS
        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        ).stdout.strip()
    return ""


def take(file: Path) -> int | None:
    """
    Lock *file* and return its open descriptor, None if a server holds it.

    A process that inherits the descriptor holds the lock. Close it: to unlock it would unlock it for all of them.

    Raises:
        ServerError: If its file system has no locks.
        OSError: If it cannot be opened.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if _lock(descriptor, fcntl.LOCK_EX, file):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def sign(descriptor: int, started: float | None = None) -> None:
    """Write into the locked file that the server is started here and now; *started* as in its pid file, once known."""
    text = json.dumps(asdict(Origin(pid_namespace(), boot_id(), time.time(), started))).encode()
    # Overwritten before it is shortened: that needs no space on a full disk.
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))


def is_held(file: Path) -> bool:
    """
    Whether a server holds *file*, without changing anything.

    Raises:
        ServerError: If its file system has no locks.
        OSError: If it cannot be opened.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH, file)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, operation: int, file: Path) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ServerError(
            f"the file system of `{file.parent}` has no locks",
            why=f"{error.strerror}. Without a lock, two servers could start on the same data.",
            hint="keep the server on a local disk, as in:\nexport GOLDENTREE_HOME=/var/lib/goldentree",
        ) from error
    return True


def read_origin(file: Path) -> Origin | None:
    """Return where the server was started that holds *file*, or held it last; None if unknown."""
    with suppress(ValueError, TypeError, KeyError):
        found = json.loads(read_small_file(file) or "")
        started = found.get("started")
        known = None if started is None else float(started)
        return Origin(str(found["place"]), str(found["boot"]), float(found["since"]), known)
    return None
