"""
Prove which process is the client of a session.

`pg_stat_activity` knows a client's address as the server sees it. It proves nothing if an address is translated on the
way (a container's port map, a proxy), because another machine's client may have the same address there.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.server.connection import scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil
    from psycopg import Connection

_SOCKET = re.compile(r"socket:\[(\d+)\]")
_LISTENING = re.compile(rb".*/\.s\.PGSQL\.\d+\0?", re.DOTALL)


@dataclass(frozen=True)
class Session:
    """
    A session, as `pg_stat_activity` describes it.

    Attributes:
        backend: The process id of its server process.
        address, port: The client's address; None and -1 for a Unix socket.
    """

    backend: int
    database: str
    address: str | None
    port: int


@dataclass(frozen=True)
class Client:
    """A session's client process."""

    pid: int
    program: str
    process: psutil.Process = field(repr=False, compare=False)


@dataclass(frozen=True)
class Route:
    """
    The way to the server on which addresses are known not to be translated.

    Attributes:
        host, port: The server's address; an empty host for none.
    """

    host: str
    port: int

    @classmethod
    def of(cls, connection: Connection[Any]) -> Route:
        """Return the way that *connection* takes."""
        with socket.socket(fileno=os.dup(connection.fileno())) as ours:
            if ours.family == socket.AF_UNIX:
                # 0 for a process in another PID namespace, such as a container's.
                pid = (
                    struct.unpack("3i", ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] if _LINUX else 1
                )
                return cls("127.0.0.1" if pid else "", int(scalar(connection, "SHOW port")))
            here, there = ours.getsockname(), ours.getpeername()
        query = "SELECT host(client_addr) || ' ' || client_port FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        direct = scalar(connection, query) == f"{_plain(here[0])} {here[1]}"
        return cls(_plain(there[0]) if direct else "", there[1])

    def leads_to(self, host: str, port: int) -> bool:
        """Whether the address is the server's, on this way or over the loopback interface of the same machine."""
        if not self.host or port != self.port:
            return False
        return _plain(host) == self.host or (_is_loopback(host) and _is_loopback(self.host))


_LINUX = sys.platform == "linux"


def find_client(session: Session, leader: int, route: Route) -> Client | None:
    """
    Return the client process of *session* if it is provably *leader*, in its session, or descends from one of these.

    Returns None for every other client, and where the proof is impossible: if the address may have been translated; and
    for a Unix socket if the server process's files cannot be read (another account's, unless we are root), or on macOS.
    """
    import psutil

    for process in _list_processes(leader):
        with suppress(psutil.Error, OSError):
            if _is_client(process, session, route):
                return Client(process.pid, process.name(), process)
    return None


def _is_client(process: psutil.Process, session: Session, route: Route) -> bool:
    import psutil

    if session.address is None:
        return _LINUX and not _read_sockets(process.pid).isdisjoint(_find_peers(session.backend))
    if _LINUX and os.stat(f"/proc/{process.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino:  # noqa: PTH116 - a link that names nothing
        return False  # the same address is another server in that network namespace
    return any(
        (_plain(found.laddr.ip), found.laddr.port) == (session.address, session.port)
        and route.leads_to(found.raddr.ip, found.raddr.port)
        for found in process.net_connections(kind="tcp")
        if found.status == psutil.CONN_ESTABLISHED
    )


def _list_processes(leader: int) -> Iterator[psutil.Process]:
    """Yield the processes in the session of *leader*, even if it has exited, and all their descendants."""
    import psutil

    seen: set[int] = set()
    for pid in sorted(filter(lambda pid: _session_of(pid) == leader, psutil.pids())):
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if pid in seen:
                continue
            for found in (process, *process.children(recursive=True)):
                if found.pid not in seen:
                    seen.add(found.pid)
                    yield found


def _session_of(pid: int) -> int:
    with suppress(OSError):
        return os.getsid(pid)
    return 0


def _find_peers(backend: int) -> set[int]:
    """Return the inodes of the sockets at the other end of the Unix sockets that *backend* accepted as a server."""
    accepted = _read_sockets(backend)
    return {peer for inode, peer, name in _list_unix_sockets() if inode in accepted and _LISTENING.fullmatch(name)}


def _read_sockets(pid: int) -> set[int]:
    """
    Return the inodes of the sockets that a process has open.

    Raises:
        OSError: If we may not know.
    """
    folder = f"/proc/{pid}/fd"
    found = set()
    for name in os.listdir(folder):  # noqa: PTH208 - its entries disappear
        with suppress(FileNotFoundError):
            if match := _SOCKET.fullmatch(os.readlink(f"{folder}/{name}")):  # noqa: PTH115 - a link that names nothing
                found.add(int(match[1]))
    return found


def _list_unix_sockets() -> Iterator[tuple[int, int, bytes]]:
    """
    Yield the inode, the peer's inode and the name of each connected Unix socket: sock_diag(7), `struct unix_diag_req`.

    An accepted socket has the name of the socket that listens.
    """
    dump, established, show_name_and_peer = 0x301, 1 << 1, 1 | 4
    request = struct.pack("=IHHII", 40, 20, dump, 1, 0)
    request += struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, established, 0, show_name_and_peer, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as netlink:
        netlink.settimeout(1)
        netlink.send(request)
        while True:
            data = netlink.recv(1 << 16)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind != 20:  # the end, or an error
                    return
                yield _parse_unix_socket(data[16:length])
                data = data[(length + 3) & ~3 :]


def _parse_unix_socket(message: bytes) -> tuple[int, int, bytes]:
    inode = struct.unpack_from("=I", message, 4)[0]
    attributes = {}
    rest = message[16:]
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        attributes[kind] = rest[4:length]
        rest = rest[(length + 3) & ~3 :]
    return inode, int.from_bytes(attributes.get(2, b""), sys.byteorder), attributes.get(0, b"")


def _plain(host: str) -> str:
    """Return an address as PostgreSQL's `host()` writes it: an IPv4 address that an IPv6 socket uses as IPv4."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(_plain(host)).is_loopback
