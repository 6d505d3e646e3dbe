"""Read and write the libpq service file of the embedded server: its port and password, for psql and for us."""

from __future__ import annotations

import configparser
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from tasks_lib.databases.server.connection import require_psycopg
from tasks_lib.errors import ServerError
from tasks_lib.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

ACCEPTS, BUSY, SILENT = "accepts", "busy", "silent"
"""What a server answers to `ping`: it accepts logins; it starts, recovers or stops; nothing."""

HOST = "127.0.0.1"
USER = "goldentree"

_SECTION = "goldentree"
_PORTS = range(15432, 16432)
"""Below the ports of outgoing connections (from 32768 on Linux, 49152 on macOS), so that none takes our port."""


@dataclass(frozen=True)
class Service:
    """The server's port and its user's password; the rest never changes."""

    port: int
    password: str

    @property
    def url(self) -> str:
        """The libpq URL of the maintenance database, password included."""
        return f"postgresql://{USER}:{quote(self.password, safe='')}@{HOST}:{self.port}/postgres"

    def write(self, file: Path) -> None:
        """Write *file* so that only its owner can read it."""
        text = f"[{_SECTION}]\nhost={HOST}\nport={self.port}\nuser={USER}\npassword={self.password}\ndbname=postgres\n"
        atomic_write(file, text, durable=True)


def new_service() -> Service:
    """Generate a password, and choose a free port at random, so that servers made at the same time do not collide."""
    free = [port for port in _PORTS if is_free(port)]
    return Service(secrets.choice(free), secrets.token_urlsafe(24))


def read_service(file: Path) -> Service:
    """
    Return the port and password in *file*.

    Raises:
        ServerError: If the file does not exist, because no server was ever started, or is damaged.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        if not parser.read(file):
            raise ServerError(f"no server in `{file.parent}`", hint="inv server.start")
        return Service(parser.getint(_SECTION, "port"), parser.get(_SECTION, "password"))
    except (configparser.Error, ValueError) as error:
        raise ServerError(f"cannot read `{file}`", hint="restore its lines `port=` and `password=`") from error


def is_free(port: int) -> bool:
    """Whether no socket is bound to *port*."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def ping(port: int) -> str:
    """
    Return what a server on *port* answers to the beginning of a login: `ACCEPTS`, `BUSY` or `SILENT`.

    Raises:
        ServerError: If psycopg finds no libpq.
    """
    require_psycopg()
    from psycopg.pq import PGconn, Ping

    # All that variables such as PGSSLMODE could change.
    address = f"host={HOST} hostaddr={HOST} port={port} user={USER} dbname=postgres"
    answer = PGconn.ping(f"{address} connect_timeout=2 sslmode=disable gssencmode=disable options=''".encode())
    if answer == Ping.REJECT:
        return BUSY
    # Libpq makes no attempt if PGSERVICE names no service, for example. Then the login says why.
    return ACCEPTS if answer in (Ping.OK, Ping.NO_ATTEMPT) else SILENT
