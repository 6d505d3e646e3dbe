"""A dry run (`inv -R`) of any task changes nothing; nor does a task that only reads."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tasks_lib import ns

TIMED_OUT = 5
READERS = sorted(name for name in ns.task_names if ns[name].reads)
CHANGERS = sorted(name for name in ns.task_names if not ns[name].reads)


class World:
    """A repository with a worktree, a removal that can be undone, a parked golden template, and a row of everything."""

    def __init__(self, repository, golden):
        self.repository = repository
        self.before = None
        own, source = f"{repository.prefix}_latest", f"{repository.prefix}_source"
        for name in (own, source):
            repository.sql(f'CREATE DATABASE "{name}" TEMPLATE "{golden}"')
        file = repository.path / ".env"
        file.write_text(file.read_text().replace(f"WORKTREE_TEMPLATE_DB={golden}", f"WORKTREE_TEMPLATE_DB={own}"))
        with file.open("a") as env:
            env.write(f"PULL_DATABASE_URL='{repository.url.rpartition('/')[0]}/{source}'\n")
        self.there = repository.worktree("a")
        repository.json("worktree.create", "gone")
        repository.json("worktree.remove", "gone")
        repository.json("worktree.create", "a")
        repository.json("golden.promote", cwd=self.there)
        self.rows = {}
        self._fill_ledger()

    def _add(self, noun, *arguments):
        self.rows[noun] = self.repository.json(*arguments, cwd=self.there)["id"]
        return self.rows[noun]

    def _fill_ledger(self):
        initiative = self._add("initiative", "initiative.add", "goal")
        phase = self._add("phase", "phase.add", "stage", initiative)
        self._add("blocking phase", "phase.add", "first stage", initiative)
        self._add("agent", "agent.register", "ann")
        self._add("task", "task.add", "work", "--phase", phase)
        self._add("blocker", "task.add", "first")
        self._add("failed", "task.add", "hard")
        claimed = self.repository.json("task.claim", self.rows["failed"], cwd=self.there)
        assert claimed["task"]["id"] == self.rows["failed"]
        self.repository.json("task.fail", "--block", cwd=self.there)
        self._add("held", "task.add", "held")
        self.repository.json("task.claim", self.rows["held"], cwd=self.there)
        for state in ("active", "pending_review", "conflict"):
            self._add(state, "errand.start", f"fix {state}", "--no-db")
            self._write(f"UPDATE errands SET status = '{state}' WHERE id = '{self.rows[state]}'")
        self._add("review", "review.add", phase, "app.py", "1", "why")
        self._add("proposal", "proposal.add", "more", initiative, "task")
        self._add("page", "page.write", initiative, "Plan")
        self._add("chat", "chat.open", "--phase", phase)
        self._add("message", "message.send", "hello", "--as", "ann")
        self._add("account", "account.add", "ann@example.com")
        self.repository.json("agent.register", "bob")
        asked = self.repository.inv("agent.ask", "why?", "--agent", "ann", "--timeout", "1")
        assert asked.returncode == TIMED_OUT, asked.stderr
        self.rows["question"] = self.ledger("SELECT id FROM conversations")[0][0]

    def ledger(self, statement):
        """Return the rows of a query on the ledger."""
        with closing(sqlite3.connect(self.repository.path / ".git/goldentree/ledger.db")) as ledger:
            return ledger.execute(statement).fetchall()

    def _write(self, statement):
        with closing(sqlite3.connect(self.repository.path / ".git/goldentree/ledger.db")) as ledger, ledger:
            ledger.execute(statement)

    def state(self):
        """Return everything that a command could change, but for the cache of golden's fingerprint."""
        tables = [name for (name,) in self.ledger("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        folders = [self.repository.path, self.there]
        return {
            **self.repository.world(),
            "ledger": {table: self.ledger(f'SELECT * FROM "{table}" ORDER BY 1') for table in tables},
            "config": self.repository.git("config", "--list", "--local"),
            "files": {
                path: path.read_bytes()
                for folder in folders
                for path in folder.rglob("*")
                if path.is_file() and ".git" not in path.parts
            },
            "removals": sorted((self.repository.path / ".git/goldentree/removed").rglob("*")),
        }

    def run(self, *arguments, cwd):
        """Run `inv`, and return what changed, and what it printed if it failed; nothing if all is well."""
        before = self.before or self.state()
        result = self.repository.inv(*arguments, cwd=cwd)
        self.before = after = self.state()
        changed = [key for key in before if before[key] != after[key]]
        failed = result.stderr + result.stdout if "error: " in result.stderr or "Traceback" in result.stderr else ""
        return changed + [failed] * bool(failed)


@pytest.fixture
def world(repository, golden):
    return World(repository, golden)


def changing(rows):
    """Return a command line for every task that changes something: those of the main worktree, those of another."""
    main = [
        ("init", "--git", "--claude"),
        ("demo",),
        ("worktree.create", "b"),
        ("worktree.remove", "a", "--force"),
        ("worktree.undo", "gone"),
        ("worktree.gc", "--yes"),
        ("worktree.stop", "a"),
        ("worktree.env", "a", "--sync"),
        ("golden.refresh", "--fresh"),
        ("golden.pull", "--unmasked"),
        ("golden.build",),
        ("golden.undo",),
        ("golden.tidy",),
        ("server.start",),
        ("server.stop",),
        ("errand.merge", rows["pending_review"]),
    ]
    here = [
        ("worktree.db", "--fresh"),
        ("worktree.setup", "--fresh"),
        ("worktree.teardown",),
        ("db.clone", "--fresh"),
        ("db.pull", "--unmasked"),
        ("db.reset", "--fresh"),
        ("db.migrate",),
        ("db.generate",),
        ("db.psql",),
        ("db.sign", "--yes"),
        ("golden.promote", "--force"),
        ("task.add", "more"),
        ("task.depends", rows["task"], rows["blocker"]),
        ("task.claim", rows["blocker"]),
        ("task.done", rows["held"]),
        ("task.fail", rows["held"]),
        ("task.retry", rows["failed"]),
        ("task.update", rows["task"], "--name", "other"),
        ("task.delete", rows["blocker"], "--force"),
        ("phase.add", "last", rows["initiative"]),
        ("phase.depends", rows["phase"], rows["blocking phase"]),
        ("phase.update", rows["phase"], "--status", "approved"),
        ("phase.delete", rows["phase"], "--force"),
        ("initiative.add", "other"),
        ("initiative.update", rows["initiative"], "--name", "other"),
        ("initiative.delete", rows["initiative"], "--force"),
        ("initiative.add-project", "app", "https://example.com/app.git"),
        ("initiative.projects", "--initiative", rows["initiative"], "--set", ""),
        ("agent.register", "bob"),
        ("agent.ask", "why?", "--agent", "bob"),
        ("agent.listen", "--timeout", "1"),
        ("agent.answer", rows["question"], "so"),
        ("agent.stop", "--name", "ann"),
        ("agent.log",),
        ("errand.start", "another"),
        ("errand.complete", "--errand", rows["active"]),
        ("errand.resolve", "--errand", rows["conflict"]),
        ("errand.abandon", rows["active"]),
        ("review.add", rows["phase"], "app.py", "2", "how"),
        ("review.resolve", rows["review"]),
        ("review.unresolve", rows["review"]),
        ("review.delete", rows["review"]),
        ("proposal.add", "even more", rows["initiative"], "task"),
        ("proposal.accept", rows["proposal"]),
        ("proposal.dismiss", rows["proposal"]),
        ("page.write", rows["initiative"], "Other"),
        ("page.update", rows["page"], "--title", "Other"),
        ("chat.open", "--task", rows["task"]),
        ("chat.say", rows["chat"], "hi"),
        ("chat.close", rows["chat"]),
        ("message.send", "hi", "--as", "ann"),
        ("message.read", rows["message"]),
        ("message.reply", rows["message"], "yes"),
        ("account.add", "bob@example.com"),
        ("account.next",),
        ("account.exhausted", rows["account"]),
        ("account.clear", "--account", rows["account"]),
        ("account.delete", rows["account"]),
        ("ledger.backup",),
        ("ledger.board",),
    ]
    return main, here


def reading(rows):
    """Return a command line for every task that only reads."""
    return [
        ("doctor",),
        ("worktree.list",),
        ("worktree.status",),
        ("worktree.path", "a"),
        ("db.companions",),
        ("db.status",),
        ("db.verify",),
        ("golden.status",),
        ("golden.verify",),
        ("server.status",),
        ("config.show",),
        ("task.ready",),
        ("task.list",),
        ("task.show", rows["task"]),
        ("task.tree",),
        ("phase.list",),
        ("initiative.list",),
        ("agent.list",),
        ("agent.wait", rows["question"], "--timeout", "1"),
        ("agent.logs", "ann"),
        ("errand.list",),
        ("errand.diff", rows["active"]),
        ("review.list",),
        ("review.diff", rows["phase"]),
        ("proposal.list",),
        ("page.list",),
        ("page.show", rows["page"]),
        ("chat.show", rows["chat"]),
        ("chat.list",),
        ("message.list",),
        ("account.list",),
        ("ledger.status",),
    ]


def test_dry_run_of_each_task_changes_nothing(world):
    """Each task that changes something prints its plan under `-R`; a new task needs a line here."""
    main, here = changing(world.rows)
    assert sorted(name for name, *_ in [*main, *here]) == CHANGERS
    found = {
        words[0]: found
        for words, cwd in [(words, world.repository.path) for words in main] + [(words, world.there) for words in here]
        if (found := world.run("-R", *words, cwd=cwd))
    }
    print({k: [str(x)[-260:] for x in v] for k, v in found.items()})
    assert found == {}


def test_each_reading_task_changes_nothing(world):
    """A task that is declared as `reads=True` leaves everything as it was; a new one needs a line here."""
    assert sorted(name for name, *_ in reading(world.rows)) == READERS
    found = {words[0]: found for words in reading(world.rows) if (found := world.run(*words, cwd=world.there))}
    # Neither a question without an answer nor a phase without a branch is of interest here.
    expected = {"agent.wait", "review.diff", "golden.verify"}
    assert {name: changes for name, changes in found.items() if name not in expected or len(changes) > 1} == {}
