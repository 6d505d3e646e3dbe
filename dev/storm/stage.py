"""The stage of a storm: a directory with a repository, an embedded server, and, for root, two small disks."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tasks_lib.databases.server.embedded.cluster import Cluster

GOLDEN = "app_latest"
BYSTANDER = "app_bystander"
"""A database whose name looks like a clone's, and which goldentree did not make."""

DISKS = {"server": "2g", "code": "512m"}
"""Folders that are file systems of their own, with their sizes, so that they can be filled."""

_TABLES = """
SET ROLE owner;
CREATE FUNCTION is_fine(int) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true';
CREATE TABLE load AS SELECT i, md5(i::text) AS s FROM generate_series(1, 20000) AS i;
ALTER TABLE load ADD CHECK (is_fine(i));
CREATE TABLE mark (id text PRIMARY KEY, branch text NOT NULL);
"""
"""Made by an ordinary role, so that a dump is restored as that one."""

CONTENTS = "SELECT count(*), md5(string_agg(i || s, ',' ORDER BY i)) FROM load"

_MIGRATE = """\
import os
import sys
import psycopg

try:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS migrated AS SELECT 1 AS version")
except psycopg.Error as error:
    sys.exit(f"not migrated: {error}")
"""
_REAPER = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
"""The first process of a PID namespace: it collects the processes that others leave, as a container's init does."""


class Stage:
    """
    Everything that a storm needs, in one directory.

    Attributes:
        root: That directory.
        main: The repository's main worktree.
        left_out: What this account or machine cannot do, in words.
        secrets: Texts that no command may print.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="goldentree-storm-")).resolve()
        self.root.chmod(0o711)  # the account that PostgreSQL runs as has to get through
        self.main = self.root / "code" / "app"
        self.token = secrets.token_hex(16)
        self.secrets = [self.token]
        self.left_out: list[str] = []
        self.disks: list[Path] = []
        self._namespace: subprocess.Popen[bytes] | None = None
        self.cluster = Cluster(self.root / "server" / "goldentree")
        self.environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "GOLDENTREE_HOME": str(self.cluster.root),
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONFAULTHANDLER": "1",  # a command that hangs says where
            "STORM": str(self.root),  # marks the processes that are ours
        }

    def set_up(self) -> None:
        """Mount the disks, make the PID namespace, the repository, the server, golden and the bystander."""
        for folder in ("home", "tmp", *DISKS):
            (self.root / folder).mkdir()
        self._mount_disks()
        self._make_namespace()
        (self.root / "home" / ".gitconfig").write_text(
            "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n"
        )
        self.main.mkdir()
        (self.main / "tasks.py").write_text("from tasks_lib import ns\n")
        (self.main / "migrate.py").write_text(_MIGRATE)
        (self.main / ".gitignore").write_text(".env*\n__pycache__/\ncache/\n")
        for command in ("init --quiet", "add --all", "commit --quiet --message Start"):
            self.git(*command.split())
        (self.main / ".env").write_text(
            f"API_TOKEN={self.token}\nWORKTREE_MIGRATE={sys.executable} migrate.py\nWORKTREE_KEEP_REMOVED=20s\n"
            "WORKTREE_SPARES=1\n"
        )
        subprocess.run(
            ["goldentree", "server.start"], cwd=self.main, env=self.environment, check=True, capture_output=True
        )
        self.secrets.append(str(self.cluster.url).rpartition("@")[0].rpartition(":")[2])
        self.sql("CREATE ROLE owner")
        for name in (GOLDEN, BYSTANDER):
            self.sql(f"CREATE DATABASE {name} OWNER owner")
            self.sql(_TABLES, database=name)

    def tear_down(self) -> None:
        """End what still runs, unmount the disks, and delete the directory."""
        self.end_processes()
        for disk in self.disks:
            subprocess.run(["umount", "--lazy", disk], check=True)
        shutil.rmtree(self.root)

    def end_processes(self) -> None:
        """End every process of the stage, the server last."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
        for postmaster in self.postmasters():
            with suppress(psutil.Error):
                postmaster.send_signal(signal.SIGCONT)
                postmaster.send_signal(signal.SIGQUIT)
                postmaster.wait(10)
        if self._namespace:
            self._namespace.kill()
            self._namespace.wait()
            self._namespace = None

    def command(self, *arguments: str, directory: Path, elsewhere: bool) -> list[str]:
        """Return the command line of `goldentree *arguments*` in *directory*, perhaps in the other PID namespace."""
        line = ["sh", "-c", 'cd "$0" && exec goldentree "$@"', str(directory), *arguments]
        if elsewhere and (inside := self._inside()):
            return ["nsenter", f"--target={inside}", "--mount", "--pid", *line]
        return line

    def _inside(self) -> int | None:
        if self._namespace is None:
            return None
        children = psutil.Process(self._namespace.pid).children()
        return children[0].pid if children else None

    def git(self, *arguments: str, directory: Path | None = None) -> str:
        """Run git, and return what it printed."""
        return subprocess.run(
            ["git", *arguments],
            cwd=directory or self.main,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def sql(self, statement: str, *arguments: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with psycopg.connect(self.cluster.url, dbname=database, autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(statement.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    def processes(self) -> list[psutil.Process]:
        """Return the processes that commands of the stage have started and that still run; not the server's."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = process.environ().get("STORM") == str(self.root)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def postmasters(self) -> list[psutil.Process]:
        """Return the servers that run on the data directory: one, or none."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                name = Path(words[0]).name if words else ""
                if name == "postgres" and str(self.cluster.data) in words:
                    found[process.pid] = process
        # A backend has its parent's command line until it has set its own.
        return [process for process in found.values() if _parent(process) not in found]

    def _mount_disks(self) -> None:
        for folder, size in DISKS.items():
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "storm", str(self.root / folder)]
            with suppress(OSError, subprocess.CalledProcessError):
                if sys.platform == "linux" and os.geteuid() == 0:
                    subprocess.run(mount, check=True, capture_output=True)
                    self.disks.append(self.root / folder)
        if not self.disks:
            self.left_out.append("full disks, because only root on Linux may mount one")

    def _make_namespace(self) -> None:
        unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-c", _REAPER]
        with suppress(FileNotFoundError):
            self._namespace = subprocess.Popen(unshare, stderr=subprocess.DEVNULL, start_new_session=True)
            deadline = time.monotonic() + 5
            while self._namespace.poll() is None and not self._inside() and time.monotonic() < deadline:
                time.sleep(0.05)
        if self._namespace and self._namespace.poll() is not None:
            self._namespace = None
        if self._namespace is None:
            self.left_out.append("a second PID namespace, because only root on Linux may make one")


def _parent(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return process.ppid()
    return 0
