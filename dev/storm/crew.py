"""The workers of a storm: each runs one command after the other, and some of its commands are hit."""

from __future__ import annotations

import random
import signal
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

import psutil
import psycopg
from dotenv import dotenv_values

from dev.storm.log import Call

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dev.storm.log import Log
    from dev.storm.stage import Stage

WORKERS = 8
SHARED = ("shared-0", "shared-1")
BOUND = 180.0
"""Seconds after which a command counts as hung: every wait of goldentree is shorter, but a machine of CI is slow."""

KILLED, STOPPED = 0.22, 0.12
"""Shares of the commands that are hit."""

CLIENTS = {"pg_dump", "pg_restore", "psql"}

ANYWHERE = {
    "worktree.gc --yes": 5,
    "worktree.list": 4,
    "golden.status": 3,
    "golden.refresh": 3,
    "golden.refresh --fresh": 2,
    "golden.undo": 2,
    "golden.tidy": 2,
    "doctor": 2,
}
ABSENT = {"worktree.create": 30, "worktree.undo": 12}
PRESENT = {"worktree.remove": 12, "worktree.remove --force": 12, "worktree.create": 4, "worktree.status": 3}
INSIDE = {
    "db.reset": 6,
    "db.verify": 4,
    "db.status": 3,
    "golden.promote": 2,
    "golden.promote --force": 2,
    "worktree.setup": 4,
    "worktree.db": 2,
    "db.migrate": 3,
}
"""
Commands and how often each is chosen: those of the repository, of a branch without and with a worktree, and in it.
"""

REPLACING = {"worktree.create", "worktree.remove", "worktree.undo", "worktree.setup", "worktree.db", "db.reset"}
"""Commands that may park or replace a branch's database: rows that were in it before need not be there afterwards."""


@dataclass
class Book:
    """
    What the workers wrote, by branch.

    Attributes:
        rows: Ids of rows that the branch's database must have.
        commits: Commits that a ref must contain.
        promoted: Branches whose database may have become golden.
    """

    rows: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    commits: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    promoted: set[str] = field(default_factory=set)
    _replaced: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, branch: str, command: str) -> None:
        """Note that *command* begins for *branch*, or has ended: what is written in between need not stay."""
        name = command.split(maxsplit=1)[0]
        with self._lock:
            if name in REPLACING:
                self.rows[branch].clear()
                self._replaced[branch] += 1
            if command == "worktree.remove --force":
                self.commits[branch].clear()
            if name == "golden.promote":
                self.promoted.add(branch)

    def version(self, branch: str) -> int:
        """Return a number that changes whenever the branch's worktree may be replaced."""
        return self._replaced[branch]

    def add(self, kind: defaultdict[str, set[str]], branch: str, entry: str, version: int) -> None:
        """Expect *entry* to stay, unless the branch's worktree may have been replaced since *version* was read."""
        with self._lock:
            if self._replaced[branch] == version:
                kind[branch].add(entry)


class Caller:
    """Runs commands, hits them if asked to, and looks at what they print."""

    def __init__(self, stage: Stage, log: Log, name: str, *, elsewhere: bool = False) -> None:
        self.stage = stage
        self.log = log
        self.name = name
        self.elsewhere = elsewhere

    def goldentree(self, words: Sequence[str], directory: Path | None = None, *, blow: Blow | None = None) -> Call:
        """Run goldentree in *directory*, or in the main worktree if that is gone."""
        where = directory if directory and directory.is_dir() else self.stage.main
        return self.run(words, self.stage.command(*words, directory=where, elsewhere=self.elsewhere), blow)

    def run(self, words: Sequence[str], line: Sequence[str], blow: Blow | None = None) -> Call:
        """Run the command *line*, known as *words* in the log, and return what came of it."""
        began = time.monotonic()
        # Files, because a killed command's children may keep a pipe open.
        with (
            tempfile.TemporaryFile("w+", errors="replace") as out,
            tempfile.TemporaryFile("w+", errors="replace") as err,
        ):
            process = subprocess.Popen(
                line,
                cwd=self.stage.main,
                env=self.stage.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            hit = blow.strike(process) if blow else ""
            try:
                process.wait(BOUND)
            except subprocess.TimeoutExpired:
                self.log.add_fault(f"`{' '.join(words)}` still ran after {BOUND:.0f} s:\n{self._describe(process)}")
                with suppress(psutil.Error):
                    _target(process).send_signal(signal.SIGABRT)  # Python then prints where it is
                with suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                process.kill()
                process.wait()
            for file in (out, err):
                file.seek(0)
            call = Call(
                worker=self.name,
                command=tuple(words),
                elsewhere=self.elsewhere,
                began=round(began, 2),
                seconds=round(time.monotonic() - began, 2),
                status=process.returncode,
                blow=hit,
                stdout=out.read(),
                stderr=err.read(),
            )
        self._judge(call)
        self.log.add_call(call)
        return call

    def _file(self) -> IO[str]:
        return tempfile.TemporaryFile("w+", errors="replace")

    def _judge(self, call: Call) -> None:
        said = call.stdout + call.stderr
        name = " ".join(call.command)
        if "Traceback (most recent call last)" in said:
            self.log.add_fault(f"`{name}` printed a traceback:\n{said[-3000:]}")
        if any(secret in said for secret in self.stage.secrets):
            self.log.add_fault(f"`{name}` printed a secret; its output is in the log of calls")
        ended = call.status == -signal.SIGTERM and name in INSIDE  # by a removal of the worktree
        if call.status not in {0, 1} and not call.blow and not ended:
            self.log.add_fault(f"`{name}` ended with status {call.status}:\n{said[-3000:]}")
        if call.status == 1 and not call.error and "✗" not in said and call.command[0] not in {"doctor", "db.verify"}:
            self.log.add_fault(f"`{name}` failed without an error:\n{said[-3000:]}")

    def _describe(self, process: subprocess.Popen[bytes]) -> str:
        lines = []
        with suppress(psutil.Error):
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            lines += [f"process {child.pid} {child.status()} {' '.join(child.cmdline())}" for child in family]
        with suppress(psycopg.Error):
            activity = "SELECT pid, datname, state, wait_event_type, wait_event, left(query, 100) FROM pg_stat_activity"
            lines += [f"session {row}" for row in self.stage.sql(activity + " WHERE datname IS NOT NULL")]
        return "\n".join(lines)


@dataclass(frozen=True)
class Blow:
    """SIGKILL, or SIGSTOP and later SIGCONT, for a command; or for one of the PostgreSQL programs that it runs."""

    how: str
    delay: float
    pause: float
    at_client: bool

    def strike(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the moment and strike; return what was done, empty if the command had ended."""
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.delay)
            return ""
        with suppress(psutil.Error):
            target = _target(process)
            clients = [child for child in target.children(recursive=True) if child.name() in CLIENTS]
            if self.at_client and clients:
                target = clients[0]
            if self.how == "kill":
                target.kill()
                return "kill"
            target.suspend()
            time.sleep(self.pause)
            target.resume()
            process.send_signal(signal.SIGCONT)  # `nsenter` stops with its child
            return "stop"
        return ""


def _target(process: subprocess.Popen[bytes]) -> psutil.Process:
    """Return the process of goldentree itself: `nsenter` is its parent."""
    found = psutil.Process(process.pid)
    return found.children()[0] if found.name() == "nsenter" and found.children() else found


class Worker:
    """Runs random commands until told to stop."""

    def __init__(self, number: int, seed: int, stage: Stage, log: Log, book: Book) -> None:
        self.number = number
        self.stage = stage
        self.book = book
        self.random = random.Random(f"{seed}-{number}")  # noqa: S311 - it chooses commands
        self.caller = Caller(stage, log, str(number), elsewhere=number % 2 == 1)

    def run(self, stop: threading.Event) -> None:
        """Run commands until *stop*."""
        while not stop.is_set():
            self._step()

    def _step(self) -> None:
        branch = self.random.choice([*[f"own-{self.number}"] * 3, *SHARED])
        directory = self.stage.main.with_name(f"app-{branch}")
        present = directory.is_dir()
        if present and self.random.random() < 0.3:
            self._write(branch, directory)
        chances = {**ANYWHERE, **({**PRESENT, **INSIDE} if present else ABSENT)}
        (command,) = self.random.choices(list(chances), list(chances.values()))
        name, *flags = command.split()
        of_branch = command in {**ABSENT, **PRESENT}
        self.book.note(branch, command)
        call = self.caller.goldentree(
            [name, *[branch] * of_branch, *flags],
            directory if command in INSIDE else None,
            blow=self._blow(),
        )
        self.book.note(branch, command)
        failed = command in ABSENT and call.status == 1 and "could not undo" not in call.stderr
        # Only this worker uses the branch, so nothing else has made the directory.
        if failed and not present and branch not in SHARED and directory.exists():
            self.caller.log.add_fault(f"`{' '.join(call.command)}` failed and left {directory}:\n{call.stderr}")

    def _blow(self) -> Blow | None:
        how = self.random.choices(["kill", "stop", ""], [KILLED, STOPPED, 1 - KILLED - STOPPED])[0]
        delay, pause, at_client = (
            self.random.uniform(0.05, 2.5),
            self.random.uniform(0.3, 4),
            self.random.random() < 0.3,
        )
        return Blow(how, delay, pause, at_client) if how else None

    def _write(self, branch: str, directory: Path) -> None:
        """Add a row to the branch's database and a commit to the branch, as an agent does that works there."""
        entry, version = f"{self.number}-{self.random.getrandbits(64):x}", self.book.version(branch)
        with suppress(psycopg.Error, OSError):
            url = dotenv_values(directory / ".env", interpolate=False).get("DATABASE_URL")
            if url:
                with psycopg.connect(url, connect_timeout=5, options="-c statement_timeout=10s") as connection:
                    connection.execute("INSERT INTO mark VALUES (%s, %s)", [entry, branch])
                self.book.add(self.book.rows, branch, entry, version)
        with suppress(subprocess.CalledProcessError, OSError):
            if self.stage.git("branch", "--show-current", directory=directory) == branch:
                (directory / "work.txt").write_text(entry)
                for command in ("add work.txt", f"commit --quiet --message {entry}"):
                    self.stage.git(*command.split(), directory=directory)
                self.book.add(
                    self.book.commits, branch, self.stage.git("rev-parse", "HEAD", directory=directory), version
                )
