"""The verdict after a storm: what doctor can cure is cured, and then everything is whole and nothing is left."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from dev.storm.crew import REPLACING, Caller
from dev.storm.stage import BYSTANDER, CONTENTS, GOLDEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.storm.crew import Book
    from dev.storm.log import Call, Log
    from dev.storm.stage import Stage

ROUNDS = 5
"""How often doctor is asked for cures: one may bring to light what the next one is for."""

PATIENCE = 60.0
"""Seconds for processes in the background to end, and for the server to recover."""

MAINTENANCE = {"postgres", "template0", "template1"}
KEPT_ROLES = {"parked", "snapshot", "spare"}


class Verdict:
    """Cures what the storm interrupted, as a user would, and looks for harm."""

    def __init__(self, stage: Stage, log: Log, book: Book, contents: tuple[Any, ...]) -> None:
        self.stage = stage
        self.log = log
        self.book = book
        self.contents = contents
        self.caller = Caller(stage, log, "verdict")

    def reach(self) -> None:
        """Add everything that is wrong to the log's faults."""
        self._require_quiet("the commands have ended")
        self._await_server()
        self._cure()
        self._require_success("worktree.create", "afterwards")
        self._require_quiet("the cures have ended")
        for check in (self.databases, self.contents_of_databases, self.worktrees, self.commits, self.locks):
            try:
                for fault in check():
                    self.log.add_fault(fault)
            except (psycopg.Error, subprocess.CalledProcessError, ValueError, OSError) as error:
                self.log.add_fault(f"the check of {check.__name__.replace('_', ' ')} failed: {error}")

    def databases(self) -> Iterator[str]:
        """Yield databases and roles that are half made or have gone."""
        rows = self.stage.sql("SELECT datname, datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database")
        found = {name: (limit, comment) for name, limit, comment in rows}
        owned = {row["database"] for row in self._listed()}
        for name in {GOLDEN, BYSTANDER, *owned} - set(found):
            yield f"database {name} is gone"
        for name in set(found) - owned - MAINTENANCE - {GOLDEN, BYSTANDER}:
            limit, comment = found[name]
            role = json.loads(comment).get("role") if comment else "no comment"
            if limit == -2 or role not in KEPT_ROLES:
                yield f"database {name} is left over ({role}, connection limit {limit})"
        for (name,) in self.stage.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'goldentree_%'"):
            yield f"role {name} is left over"
        notes = self.stage.main / ".git/goldentree/databases/temporaries"
        if notes.is_dir():
            yield from (f"note of a temporary database is left over: {note.name}" for note in notes.iterdir())

    def contents_of_databases(self) -> Iterator[str]:
        """Yield databases whose rows are not what they must be."""
        for name in (GOLDEN, BYSTANDER):
            marks = dict(self.stage.sql("SELECT id, branch FROM mark", database=name))
            allowed = self.book.promoted if name == GOLDEN else set()
            if self.stage.sql(CONTENTS, database=name) != [self.contents]:
                yield f"the rows of {name} have changed"
            if foreign := {branch for branch in marks.values() if branch not in allowed}:
                yield f"{name} has rows that were written to {', '.join(sorted(foreign))}"
        for row in self._listed():
            name, branch = row["database"], row["branch"]
            if self.stage.sql(CONTENTS, database=name) != [self.contents]:
                yield f"{name}, the clone of {branch}, is not complete"
            if self.stage.sql("SELECT version FROM migrated", database=name) != [(1,)]:
                yield f"{name}, the clone of {branch}, is not migrated"
            marks = dict(self.stage.sql("SELECT id, branch FROM mark", database=name))
            if lost := self.book.rows[branch] - set(marks):
                yield f"{name}, the clone of {branch}, has lost {len(lost)} rows that were committed"
            if foreign := set(marks.values()) - self.book.promoted - {branch}:
                yield f"{name}, the clone of {branch}, has rows that were written to {', '.join(sorted(foreign))}"

    def worktrees(self) -> Iterator[str]:
        """Yield worktrees, records, branches and directories that do not belong together."""
        rows = self._listed()
        for row in rows:
            if row["state"] != "ready":
                yield f"worktree {row['branch']} is {row['state']}"
        paths = {row["path"] for row in rows}
        beside = {str(path) for path in self.stage.main.parent.iterdir()} - {str(self.stage.main)}
        for path in beside ^ paths:
            yield f"{path} is {'left over' if path in beside else 'gone'}"
        ports = [row["port"] for row in rows]
        if len(ports) != len(set(ports)):
            yield f"a port is used twice: {ports}"
        of_worktrees = {"main", *(row["branch"] for row in rows)}
        for branch in of_worktrees - self._branches():
            yield f"branch {branch} is gone"
        for branch in self._branches("--merged=main") - of_worktrees:  # one with commits of its own is kept
            yield f"branch {branch} is left over"
        records = {file.stem for file in (self.stage.main / ".git/goldentree/worktrees").glob("*.json")}
        if len(records) != len(rows):
            yield f"there are {len(records)} records of {len(rows)} worktrees"
        for line in self.stage.git("worktree", "list", "--porcelain").splitlines():
            if line.startswith("prunable"):
                yield f"git has lost a worktree: {line}"

    def commits(self) -> Iterator[str]:
        """Yield branches whose commits no ref contains."""
        for branch, commits in self.book.commits.items():
            if lost := [commit for commit in commits if not self._is_kept(commit)]:
                yield f"commits of {branch} are lost: {', '.join(lost)}"

    def locks(self) -> Iterator[str]:
        """Stop the server, and yield locks that are still held."""
        held = self.stage.sql("SELECT pid, objid FROM pg_locks WHERE locktype = 'advisory'")
        yield from (f"process {pid} holds advisory lock {lock}" for pid, lock in held)
        self._stop_server()
        git, state = self.stage.main / ".git", self.stage.main / ".git" / "goldentree"
        yield from (f"git has left {file}" for file in git.rglob("*.lock") if state not in file.parents)
        for file in [*state.rglob("*lock*"), *self.stage.cluster.root.glob("*lock*")]:
            if not file.is_file():
                continue
            descriptor = os.open(file, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield f"a process holds the lock {file}"
            finally:
                os.close(descriptor)

    def _cure(self) -> None:
        """Run the cures that doctor prints until it has none, a bounded number of times."""
        findings: list[dict[str, str]] = []
        for _ in range(ROUNDS):
            call = self.caller.goldentree(["doctor", "--json"])
            answer = json.loads(call.stdout or "{}")
            findings = [finding for finding in answer.get("data") or [] if finding["level"] != "ok"]
            if answer and not findings:
                return
            for cure in dict.fromkeys(finding["cure"].splitlines()[-1] for finding in findings):
                if re.match(r"(inv|goldentree|cd) ", cure):  # others are for a person
                    self._run_cure(cure)
        shown = [f"  {finding['subject']}: {finding['text']}\n    cure: {finding['cure']}" for finding in findings]
        self.log.add_fault("\n".join([f"doctor is not content after {ROUNDS} rounds of its cures", *shown]))

    def _stop_server(self) -> None:
        """Stop the server in the PID namespace in which it runs, the only one that can."""
        elsewhere = Caller(self.stage, self.log, "verdict", elsewhere=True)
        if self.caller.goldentree(["server.stop"]).status and elsewhere.goldentree(["server.stop"]).status:
            self.log.add_fault("the server cannot be stopped")

    def _run_cure(self, cure: str) -> None:
        for branch in [branch for branch in self.book.rows if branch in cure]:
            for command in [command for command in REPLACING if command in cure]:
                self.book.note(branch, command)
        self.caller.run(["cure", cure], ["sh", "-c", cure])

    def _require_success(self, *words: str) -> Call:
        call = self.caller.goldentree(words)
        if call.status:
            self.log.add_fault(f"`{' '.join(words)}` failed after the storm:\n{call.stderr}")
        return call

    def _await_server(self) -> None:
        """Wait for a server that recovers from the last blow; doctor says so if there is none."""
        deadline = time.monotonic() + PATIENCE
        while self.stage.postmasters() and time.monotonic() < deadline:
            with suppress(psycopg.Error):
                self.stage.sql("SELECT 1")
                return
            time.sleep(0.5)

    def _require_quiet(self, when: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while (left := self.stage.processes()) and time.monotonic() < deadline:
            time.sleep(0.5)
        for process in left:
            self.log.add_fault(f"process {process.pid} still runs after {when}: {process.info}")

    def _listed(self) -> list[dict[str, Any]]:
        rows = json.loads(self._require_success("worktree.list", "--json").stdout)["data"]
        return [row for row in rows if row["state"] != "main"]

    def _branches(self, *options: str) -> set[str]:
        return set(self.stage.git("for-each-ref", *options, "--format=%(refname:short)", "refs/heads").split())

    def _is_kept(self, commit: str) -> bool:
        return bool(self.stage.git("for-each-ref", "--contains", commit))
