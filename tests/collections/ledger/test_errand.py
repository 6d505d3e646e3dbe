"""Errands: branch, worktree and row are made, merged and given up together, whatever comes in between."""

from __future__ import annotations

import json
import re

import pytest
from invoke.context import Context

from tasks_lib.collections import worktree
from tasks_lib.collections.ledger import agent, errand
from tasks_lib.errors import BranchError, ConflictError, GitError, LedgerError, NotFoundError, WorktreeError


class Errands:
    """A repository, and the tasks of `errand` called in it without a process for each."""

    def __init__(self, repository, monkeypatch):
        self.repository, self.monkeypatch = repository, monkeypatch

    def do(self, verb, *arguments, cwd=None, noun=errand, **flags):
        self.monkeypatch.chdir(cwd or self.repository.path)
        return getattr(noun, verb)(Context(), *arguments, **flags)

    def start(self, description="Fix it", **flags):
        return self.do("start", description, no_db=True, **flags)

    def commit(self, started, **files):
        for name, text in files.items():
            (started["path"] / name).write_text(text)
        self.repository.commit("Work", cwd=started["path"])

    def status(self, started):
        return next(row["status"] for row in self.do("list_") if row["id"] == started["id"])

    def refuses(self, error, match, verb, *arguments, **options):
        before = self.repository.world(), self.do("list_")
        with pytest.raises(error, match=match):
            self.do(verb, *arguments, **options)
        assert (self.repository.world(), self.do("list_")) == before


@pytest.fixture
def errands(repository, monkeypatch):
    return Errands(repository, monkeypatch)


def test_from_start_to_end(repository):
    """The row, the branch and the worktree with its database; diff, completion and merge; then all of it goes."""
    started = repository.json("errand.start", "Fix the typo in README/über 🎉")
    name, there = started["id"][:8], repository.worktree(started["branch"])
    assert started["branch"] == f"errand/fix-the-typo-in-readme-ber-{name}"
    assert (started["status"], started["base_branch"], started["path"]) == ("active", "main", str(there))
    assert repository.databases() == [started["database"]]
    (there / "new").write_text("new\n")
    [row] = repository.json("errand.list")
    assert (row["path"], row["dirty"], row["ahead"], row["problem"]) == (str(there), 1, 0, None)
    found = repository.json("errand.diff", name)
    assert found["files"] == [{"path": "new", "added": 1, "removed": 0}]
    assert repository.inv("errand.diff", cwd=there).stdout == found["patch"] + "\n"
    assert repository.inv("errand.diff", name, "--stat").stdout.startswith(" new | 1 +\n")
    assert "?? new" in repository.refuses("errand.complete", cwd=there)
    repository.commit("Work", cwd=there)
    assert f"inv errand.merge {name}" in repository.inv("errand.complete", cwd=there).stdout
    preview = repository.inv("-R", "errand.merge", name, "--remove").stdout.splitlines()
    assert preview == [f"would merge {started['branch']} into main", "would remove its worktree"]
    merged = repository.json("errand.merge", name, "--remove")
    assert (merged["status"], merged["removed"]["databases"]) == ("merged", "parked")
    assert (repository.path / "new").read_text() == "new\n"
    assert not there.exists()
    assert repository.git("branch", "--list", "errand/*") == ""
    listed = repository.inv("errand.list")
    assert re.search(rf"{name} +merged +- +gone", listed.stdout)
    assert "warning" not in listed.stderr


def test_a_conflict_changes_nothing(repository, errands):
    """It is noted and told, and nothing else changes; once it is resolved on the branch, the merge goes on."""
    errands.do("register", "swift-otter", noun=agent)
    started = errands.start(as_="swift-otter")
    name, there = started["id"][:8], started["path"]
    errands.commit(started, file="theirs\n")
    (repository.path / "file").write_text("ours\n")
    repository.commit("Ours")
    errands.refuses(ConflictError, "is active and cannot be merged\nhint: inv errand.complete", "merge", name)
    errands.do("register", "still-crane", noun=agent, cwd=there)
    errands.do("complete", cwd=there)
    assert {row["name"]: row["status"] for row in errands.do("list_", noun=agent, all=True)} == {
        "swift-otter": "idle",
        "still-crane": "stopped",
    }
    before = repository.world()
    result = repository.inv("errand.merge", name, "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout)["data"]["conflicts"] == ["file"]
    assert repository.world() == before
    assert f"{name}  conflict  swift-otter  clean, ahead 1" in repository.inv("errand.list").stdout
    assert "\n  file\n" in repository.refuses("errand.resolve", name)
    repository.git("merge", "--quiet", "--strategy-option=ours", "main", cwd=there)
    assert f"inv errand.merge {name}" in repository.inv("errand.resolve", cwd=there).stdout
    assert errands.do("merge", name)["status"] == "merged"
    assert there.exists()
    errands.refuses(ConflictError, "is merged and cannot be abandoned", "abandon", name)
    errands.do("merge", name, remove=True)
    assert not there.exists()


def test_uncommitted_work_is_not_forgotten(errands, repository):
    """Uncommitted work that would not be merged, or would be removed, is refused; --force leaves it in place."""
    started = errands.start()
    (started["path"] / "new").write_text("new\n")
    errands.refuses(WorktreeError, "new", "complete", started["id"])
    errands.refuses(WorktreeError, "new", "abandon", started["id"])
    errands.do("complete", started["id"], force=True)
    errands.refuses(WorktreeError, "new", "merge", started["branch"])
    errands.refuses(WorktreeError, "new", "merge", started["branch"], force=True, remove=True)
    assert errands.do("merge", started["branch"], force=True)["status"] == "merged"
    assert (started["path"] / "new").read_text() == "new\n"


def test_errand_merges_into_another_base(errands, repository):
    """An errand within an errand starts from the default branch all the same, or from the branch that is named."""
    first = errands.start("First")
    errands.commit(first, first="first\n")
    second = errands.start("Second", cwd=first["path"])
    assert second["base_branch"] == "main"
    assert not (second["path"] / "first").exists()
    third = errands.start("Third", base=first["branch"])
    errands.commit(third, third="third\n")
    errands.do("complete", third["id"])
    (first["path"] / "first").write_text("unfinished\n")
    errands.refuses(WorktreeError, "with uncommitted changes", "merge", third["id"])
    repository.git("stash", cwd=first["path"])
    errands.do("merge", third["id"], remove=True)
    assert (first["path"] / "third").read_text() == "third\n"
    assert repository.git("branch", "--list", third["branch"]) != ""
    tag = repository.git("rev-parse", "main")
    for base in ("absent", tag):
        errands.refuses(BranchError, f"branch `{base}` does not exist", "start", "Fourth", base=base, no_db=True)


def test_abandoning_removes_the_worktree(errands, repository):
    """The worktree goes as any other, and can be had back; the row stays."""
    started = errands.start()
    errands.commit(started, file="precious\n")
    errands.refuses(WorktreeError, "neither in `main` nor pushed", "abandon", started["id"])
    result = repository.inv("errand.abandon", started["id"], "--force")
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, f"errand {started['id'][:8]} is abandoned")
    assert not started["path"].exists()
    assert errands.status(started) == "abandoned"
    errands.do("undo", started["branch"], noun=worktree)
    assert (started["path"] / "file").read_text() == "precious\n"


def test_what_the_list_tells(errands, repository, capsys):
    """Worktrees and branches that went without the errand, each with a command that cures it."""
    removed, deleted, unknown = errands.start("Removed"), errands.start("Deleted"), errands.start("Unknown")
    errands.do("remove", removed["branch"], noun=worktree)
    repository.git("worktree", "remove", "--force", deleted["path"])
    with errands_ledger(repository).write() as tx:
        tx.errands.delete(unknown["id"])
    capsys.readouterr()
    rows = {row["id"]: row for row in errands.do("list_")}
    said = capsys.readouterr().err
    assert rows[removed["id"]]["problem"]["hint"] == f"inv worktree.undo {removed['branch']}"
    assert rows[removed["id"]]["path"] is None
    assert "is gone from" in rows[deleted["id"]]["problem"]["message"]
    assert f"inv errand.abandon {deleted['id'][:8]}" in said
    assert f"{unknown['branch']} has a worktree, but no row in the ledger; inv worktree.remove" in said
    errands.refuses(BranchError, "does not exist", "diff", removed["id"])
    errands.do("undo", removed["branch"], noun=worktree)
    errands.do("abandon", deleted["id"])
    errands.do("remove", unknown["branch"], noun=worktree)
    capsys.readouterr()
    assert [row["problem"] for row in errands.do("list_")] == [None, None]
    assert "warning" not in capsys.readouterr().err


def errands_ledger(repository):
    from tasks_lib.ledger.ledger import Ledger

    return Ledger.on_sqlite(repository.path / ".git/goldentree/ledger.db")


def test_killed_while_it_starts(errands, repository):
    """A row tells of what is left, and its cure makes the errand whole."""
    points = ["tasks_lib.worktrees.registry:Registry.save", "tasks_lib.worktrees.steps.checkout:Checkout.do"]
    for number, (where, point) in enumerate([("before", points[0]), ("after", points[0]), ("after", points[1])]):
        assert repository.dies(where, 1, point, "errand.start", f"Errand {number}", "--no-db")
    rows = errands.do("list_")
    assert [row["problem"]["hint"].removeprefix("inv worktree.create ") for row in rows] == [
        rows[0]["branch"],
        rows[1]["branch"],
        f"{rows[2]['branch']} --base main",
    ]
    for row in rows:
        branch, *base = row["problem"]["hint"].split()[2:]
        errands.do("create", branch, noun=worktree, no_db=True, base="".join(base[1:]))
    assert [row["problem"] for row in errands.do("list_")] == [None] * 3


def test_a_failure_leaves_nothing(errands, repository):
    """Neither row nor branch nor worktree, whichever step it was."""
    hook = repository.path / ".git/hooks/post-checkout"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    message = "post-checkout failed(.*\n)*.* inv errand.start 'Fix it' --base main$"
    errands.refuses(GitError, message, "start", "Fix it", no_db=True)
    errands.refuses(NotFoundError, "agent `absent` does not exist", "start", "Fix it", as_="absent", no_db=True)


def test_killed_while_it_is_merged(errands, repository):
    """Before the base branch moves, nothing has happened; after it did, the next call notes that."""
    started = errands.start()
    errands.commit(started, file="work\n")
    errands.do("complete", started["id"])
    before = repository.git("for-each-ref")
    assert repository.dies("before", 1, "tasks_lib.worktrees.plans.merge:_advance_base", "errand.merge", started["id"])
    assert repository.git("for-each-ref") == before
    assert repository.git("status", "--porcelain") == ""
    assert repository.dies("after", 1, "tasks_lib.worktrees.plans.merge:_advance_base", "errand.merge", started["id"])
    assert (repository.path / "file").read_text() == "work\n"
    assert errands.status(started) == "pending_review"
    assert errands.do("merge", started["id"])["status"] == "merged"
    assert len(repository.git("worktree", "list").splitlines()) == 2


def test_descriptions_have_200_characters(errands, repository):
    """One line of 1 to 200 characters, checked before anything is done; its words become the branch's name."""
    for wrong, said in (("x" * 201, "201 characters"), (" \n", "is empty")):
        errands.refuses(LedgerError, said, "start", wrong)
    started = errands.start("🎉 / 🚀 //")
    assert started["branch"] == f"errand/{started['id'][:8]}"
    two = errands.start("ä" * 150 + "\n" + "-x " * 16)
    assert two["branch"] == f"errand/{'x-' * 15}x-{two['id'][:8]}"
    assert two["description"] == "ä" * 150 + " " + "-x " * 15 + "-x"
    errands.refuses(LedgerError, "this worktree does not belong to an errand", "diff")
    errands.refuses(NotFoundError, "errand `nonesuch` does not exist", "diff", "nonesuch")
