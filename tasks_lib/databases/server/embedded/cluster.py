"""
Run the embedded server, for machines without PostgreSQL.

Everything is in one directory, the *root*:

.. code-block:: text

    lock               held while one process starts or stops the server
    server.lock        held while a process of the server lives; says where it was started
    data/              exists only once initdb has finished
    pg_service.conf    host, port, user and password (0600), read by libpq and by us
    server.log
    postgresql-18.6/   a copy of the wheel's programs: the server outlives the environment that started it

To run psql without a password in the process list: `PGSERVICEFILE=<root>/pg_service.conf psql service=goldentree`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.databases.server.embedded import installation, life_lock, postmaster, service, view
from tasks_lib.databases.server.embedded.account import (
    read_small_file,
    require_reach,
    run_as,
    unprivileged_account,
)
from tasks_lib.databases.server.embedded.launch import launch_postmaster
from tasks_lib.errors import ServerError, find_cure
from tasks_lib.files import LockHeldError, file_lock
from tasks_lib.waits import QUIET_SECONDS, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasks_lib.databases.server.binaries import Binaries

_POLL_SECONDS = 0.02

_PATIENCE = 120
"""Seconds for a start or a stop: a start after a crash replays the log, and a stop writes all data to disk."""

_LEAVING_SECONDS = 10
"""How long the last processes of a server that ended may take to end as well."""

_SILENCE_SECONDS = 6
"""How long a server that says it is ready may give no answer."""


@dataclass(frozen=True)
class Status:
    """
    The report of `server.status`: *version* is the data directory's major, *port* and *pid* the running server's.

    *elsewhere* says where it runs if its pid means nothing here, such as in another container.
    """

    running: bool
    version: str | None
    port: int | None
    pid: int | None
    data: Path
    log: Path
    elsewhere: str | None = None


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

    def choose_url(self) -> str:
        """
        Return the URL that the server has, or will have once it is started.

        Raises:
            ServerError: If the directory cannot be used.
        """
        if not self.service_file.exists():
            with self._lock():
                if not self.service_file.exists():
                    service.new_service().write(self.service_file)
        return self.url

    def start(self, report: Callable[[str], object] = lambda _: None) -> str:
        """
        Start the server unless it runs, creating it if necessary, and return its URL once it answers.

        Any number of processes may call this at the same time, also in containers that share the root. A wait of more
        than a second is explained on stderr.

        Args:
            report: Called with a line of text before each step that takes longer than a second.

        Raises:
            ServerError: If no programs are found, the directory or the port cannot be used, the server ends, does not
                answer, or runs or may run where it cannot be reached from here.
        """
        with self._readable():
            ready = postmaster.find(self.data) is not None and self._await_answer()
        if not ready:
            with self._lock():  # also for one that starts elsewhere, and cannot be reached until it has
                self._start(report)
        return self.url

    def find_url(self) -> str | None:
        """
        Return the URL if the server answers, None if it does not run; wait for one that starts, recovers or stops.

        Nothing is started or written.

        Raises:
            ServerError: If it does not answer, or runs where it cannot be reached from here.
        """
        with self._readable():
            if postmaster.find(self.data):
                return self.url if self._await_answer() else None
            origin = self._find_elsewhere()
        if origin is None:
            return None
        if not self._lets_us_in():
            raise ServerError(
                f"the embedded server of `{self.root}` runs {origin}",
                why=f"It cannot be reached from here on port {service.read_service(self.service_file).port}, "
                "and a second server on the same data would destroy it.",
                hint=f"run the command there, or set `{self._setting}` to a directory for a server here, as in:\n"
                f"export {self._setting}={shlex.quote(str(self.root))}-here",
            )
        return self.url

    def stop(self) -> None:
        """
        Stop the server in fast mode, which ends its sessions; do nothing if it is not running.

        Raises:
            ServerError: If it still runs after two minutes, or runs or may run elsewhere.
        """
        if self.data.exists():
            with self._lock():
                self._end("INT")

    def destroy(self) -> None:
        """
        Stop the server in immediate mode and delete the root, data included.

        Raises:
            ServerError: If a process of the server still runs, or it runs or may run elsewhere.
        """
        if self.root.exists():
            self._end("QUIT")
            shutil.rmtree(self.root)

    def status(self) -> Status:
        """
        Return the state of the server, without starting or changing anything.

        Raises:
            ServerError: If it cannot be found out.
        """
        with self._readable():
            running = postmaster.find(self.data)
            elsewhere = None if running else self._find_elsewhere()
            known = elsewhere is not None and self.service_file.exists()  # not while the data is made
            port = service.read_service(self.service_file).port if known else None
            return Status(
                running=elsewhere is not None or (running is not None and running.ready),
                version=str(self._major) if self._major else None,
                port=running.port if running else port,
                pid=running.pid if running else None,
                data=self.data,
                log=self.log,
                elsewhere=str(elsewhere) if elsewhere else None,
            )

    @property
    def _life_lock(self) -> Path:
        return self.root / "server.lock"

    def _find_elsewhere(self) -> life_lock.Origin | None:
        """Return where a server lives whose pid means nothing here, if one does."""
        origin = life_lock.read_origin(self._life_lock) if life_lock.is_held(self._life_lock) else None
        return None if origin is None or origin.here else origin

    def _lets_us_in(self) -> bool:
        """Whether the server answers here, and accepts our password, which no other one has."""
        from tasks_lib.databases.server.connection import Server
        from tasks_lib.databases.server.url import DatabaseUrl

        with suppress(ServerError), Server(DatabaseUrl.parse(self.url)).connect():
            return True
        return False

    def _await_answer(self) -> bool:
        """
        Wait until the live server answers; False if it ends instead.

        What its pid file says is not enough: it says `ready` while the server recovers from a crash of a session.

        Raises:
            ServerError: If it does not answer in time, or on another port than the URL's.
        """
        began, said = time.monotonic(), False
        while running := postmaster.find(self.data):
            answer = service.ping(running.port) if running.port else service.SILENT
            if answer == service.ACCEPTS:
                self._require_port(running.port)
                return True
            waited = time.monotonic() - began
            # It says so itself when it starts, recovers or stops.
            busy = answer == service.BUSY or not running.ready
            does = "starts, recovers or stops" if busy else "does not answer"
            if waited > (_PATIENCE if busy else _SILENCE_SECONDS):
                raise ServerError(
                    f"the embedded server {does} for {waited:.0f} seconds",
                    why=f"Its process is {running.pid}, its log is `{self.log}`.",
                    hint=f"look at its log:\ntail -n 50 {shlex.quote(str(self.log))}"
                    if busy
                    else f"if it was stopped, let it continue:\nkill -CONT {running.pid}",
                )
            if waited > QUIET_SECONDS and not said:
                said = True
                say(f"waiting for the embedded server (process {running.pid}), which {does}; its log is `{self.log}`")
            time.sleep(_POLL_SECONDS)
        return False

    def _require_port(self, port: int | None) -> None:
        if port != (written := service.read_service(self.service_file).port):
            raise ServerError(
                f"the embedded server runs on port {port}, but `{self.service_file}` names {written}",
                hint="stop it; the next start uses the port in that file:\ninv server.stop",
            )

    @property
    def _major(self) -> int | None:
        if (version := read_small_file(self.data / "PG_VERSION")) is None:
            return None
        if not version.strip().isdecimal():
            raise ServerError(f"`{self.data}` is not a data directory of PostgreSQL", hint=f"ls -la {self.data}")
        return int(version)

    @property
    def _setting(self) -> str:
        return "GOLDENTREE_HOME" if self.durable else "TMPDIR"

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ServerError(
                f"cannot read the state of the embedded server in `{self.root}`",
                why=str(error),
                hint=find_cure(str(error), self.root) or f"ls -la {shlex.quote(str(self.root))}",
            ) from error

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            if not self.root.exists():
                self.root.mkdir(parents=True, exist_ok=True)
                open_to_pass(self.root)
            with file_lock(self.root / "lock", timeout=_PATIENCE):
                yield
        except LockHeldError as held:
            raise ServerError(
                f"{held.holder} starts or stops the embedded server for more than {_PATIENCE} seconds",
                why=f"It holds `{self.root / 'lock'}`.",
                hint=held.holder.cure,
            ) from None
        except OSError as error:
            move = f"set `{self._setting}` to a directory that you own, with some 100 MB free"
            cure = "" if isinstance(error, PermissionError) else find_cure(str(error), self.root)
            raise ServerError(
                f"cannot keep a server in `{self.root}`", why=_first_reason(error), hint=cure or move
            ) from error

    def _start(self, report: Callable[[str], object]) -> None:
        """Start the server; wait a little for the last processes of one that has ended."""
        began, said = time.monotonic(), False
        while self.find_url() is None and (obstacle := self._launch_if_ended(report)):
            waited = time.monotonic() - began
            if waited > _LEAVING_SECONDS:
                raise self._still_leaving(obstacle)
            if waited > QUIET_SECONDS and not said:
                said = True
                say(f"waiting for the last processes of the embedded server that ended: {obstacle}")
            time.sleep(_POLL_SECONDS)

    def _still_leaving(self, obstacle: str = "") -> ServerError:
        left = view.find_users(self._life_lock) or view.find_processes(self.data)
        return ServerError(
            f"the embedded server has no main process, but others of it have not ended for {_LEAVING_SECONDS} s",
            why=obstacle or f"`{self._life_lock}` is locked.",
            hint=f"end what it left behind, then run the same command:\nkill {' '.join(map(str, left))}"
            if left
            else f"end what has this file open, then run the same command:\nlsof {shlex.quote(str(self._life_lock))}",
        )

    def _launch_if_ended(self, report: Callable[[str], object]) -> str:
        """Start the server, and return an empty text; or what is in the way, for a moment, of a server that ended."""
        if (lock := life_lock.take(self._life_lock)) is None:
            return f"`{self._life_lock}` is locked."
        try:
            # In this order: the lock, the port, and what the files say. Until then nothing is removed.
            if not self._has_ended():
                if self._lets_us_in():
                    return ""
                left = view.find_processes(self.data)
                if left and not any(map(postmaster.is_postmaster, left)):
                    return f"Processes {', '.join(map(str, left))} work in `{self.data}`."
                raise self._may_live()
            # PostgreSQL believes a file whose pid another process has got.
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            life_lock.sign(lock)
            return self._launch(lock, report)
        finally:
            os.close(lock)

    def _has_ended(self) -> bool:
        """Whether it is certain that the server of the pid file has ended, given that its lock is free."""
        if (left := postmaster.read_pid_file(self.data)) is None:
            return True
        origin, disk = life_lock.read_origin(self._life_lock), view.find_file_system(self.root)
        if origin and origin.is_of(left.started):  # it has held the lock, and we would see that
            return origin.same_kernel or disk.shows_locks
        # Started by an earlier version, without a lock.
        return disk.local and view.sees_all_processes() and not view.find_processes(self.data)

    def _may_live(self) -> ServerError:
        left, origin = postmaster.read_pid_file(self.data), life_lock.read_origin(self._life_lock)
        known = origin if left and origin and origin.is_of(left.started) else None
        file = shlex.quote(str(self.data / "postmaster.pid"))
        kind = view.find_file_system(self.root).type
        return ServerError(
            f"the embedded server of `{self.root}` may still run "
            + (f"{known}" if known else "in another container or on another machine"),
            why=(f"`{kind}` does not show the locks of other machines" if known else "It was started without a lock")
            + f", its process {left.pid if left else '?'} is not here, and its port does not answer.\n"
            "A second server on the same data would destroy it.",
            hint=f"stop it there, or, if it is certain that it has ended:\nrm {file}",
        )

    def _launch(self, lock: int, report: Callable[[str], object]) -> str:
        account, setting = unprivileged_account(), self._setting
        cure = f"set `{setting}` to a directory below ones that every account may enter"
        require_reach(account, self.root, hint=cure)
        binaries = installation.choose_programs(self.root, self._major, self._binaries)
        require_reach(account, binaries.directory, hint='pip install "goldentree[embedded]"')
        if not self.data.exists():
            report(f"initialising PostgreSQL {binaries.release} in `{self.root}`")
            installation.make_data(self.root, binaries, account, durable=self.durable, setting=setting)
        port = service.read_service(self.service_file).port
        report(f"starting PostgreSQL {binaries.release} on port {port}")
        obstacle = launch_postmaster(binaries, account, self.data, self.log, port, lock)
        # Exactly, because `pg_ctl restart` by hand gives the server no lock.
        if not obstacle and (server := postmaster.read_pid_file(self.data)):
            life_lock.sign(lock, server.started)
        return obstacle

    def _end(self, how: str) -> None:
        """Send the signal *how*, such as `INT`, to the server, and wait until all its processes have ended."""
        with self._readable():
            if elsewhere := self._find_elsewhere():
                raise ServerError(
                    f"the embedded server of `{self.root}` runs {elsewhere}",
                    why="Its process cannot be ended from here.",
                    hint="run this there:\ninv server.stop",
                )
            began, signalled, said = time.monotonic(), 0, False
            while (running := postmaster.find(self.data)) or life_lock.is_held(self._life_lock):
                if running and running.pid and running.pid != signalled:
                    # As the account, which may signal no process but its own, whatever its pid file says.
                    kill = ["/bin/sh", "-c", 'kill -s "$0" "$1"', how, str(running.pid)]
                    run_as(unprivileged_account(), kill, output=subprocess.DEVNULL)
                    signalled = running.pid
                waited = time.monotonic() - began
                if running is None and waited > _LEAVING_SECONDS:
                    raise self._still_leaving()
                if waited > _PATIENCE:
                    raise ServerError(
                        f"the embedded server still runs {_PATIENCE} seconds after the signal to stop",
                        why=f"The log is `{self.log}`.",
                        hint=f"kill -QUIT {signalled}",
                    )
                if waited > QUIET_SECONDS and not said:
                    said = True
                    say(f"waiting for the embedded server (process {signalled}) to stop; its log is `{self.log}`")
                time.sleep(_POLL_SECONDS)
            if not signalled and not self._has_ended():
                raise self._may_live()


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


def _first_reason(error: OSError) -> str:
    """Return what *error* says: of a tree that could not be copied, only the first file."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return str(error)
