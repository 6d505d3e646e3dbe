"""
Lease ports. A hash names the preferred one; the registry and a bind decide.
"""

from __future__ import annotations

import errno
import hashlib
import socket
from typing import TYPE_CHECKING

from tasks_lib.errors import WorktreeError

if TYPE_CHECKING:
    from collections.abc import Container

FIRST, LAST = 20_000, 29_999
"""Below every system's ephemeral range (Linux from 32768, macOS from 49152), above all ports that browsers block."""

_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

_PATIENCE = 0.2
"""Seconds for a connection: a server whose backlog is full does not answer at all."""


def lease(key: str, taken: Container[int]) -> int:
    """
    Return a free port, the preferred one of *key* if possible.

    Args:
        key: Text that is stable for the worktree.
        taken: Ports leased by other worktrees, in use or not.

    Raises:
        WorktreeError: If all are taken.
    """
    count = LAST - FIRST + 1
    preferred = int.from_bytes(hashlib.sha256(key.encode(errors="surrogateescape")).digest()[:4])
    for offset in range(count):
        port = FIRST + (preferred + offset) % count
        if port not in taken and is_free(port):
            return port
    raise WorktreeError(f"every port from {FIRST} to {LAST} is taken", hint="inv worktree.list")


def is_free(port: int) -> bool:
    """Whether no process listens on *port* of 127.0.0.1 and, if the machine has IPv6, of ::1."""
    return all(_binds(family, host, port) for family, host in _LOOPBACKS)


def answers(port: int) -> bool:
    """Whether a process listens on *port* of this machine. Connects, because a bind could block that process."""
    return any(_connects(family, host, port) for family, host in _LOOPBACKS)


def _connects(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PATIENCE)
            return probe.connect_ex((host, port)) == 0
    except OSError:  # no IPv6 on this machine
        return False


def _binds(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: else a connection that was just closed would count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        # No IPv6 on this machine is not a port in use.
        return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True
