"""Merged or not: every way in which work arrives is seen, and nothing else is taken for it."""

from __future__ import annotations

import errno
import subprocess

import pytest

from tasks_lib.errors import GitError
from tasks_lib.git import cli
from tasks_lib.git.merge_detection import find_merge_proof, is_ancestor
from tasks_lib.git.repository import Repository

LINES = [f"line {number}" for number in range(30)]


class World:
    """A repository whose `main` and `a` parted at a file of thirty lines."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.git("init", "--quiet")
        self.commit("Start", file="\n".join(LINES))
        self.git("branch", "a")

    def git(self, *arguments):
        return subprocess.run(
            ["git", *arguments], cwd=self.path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, message, on="", **files):
        """Commit *files* (a change by line number, a text or bytes) on a branch, and return the commit."""
        if on:
            self.git("switch", "--quiet", on)
        for name, content in files.items():
            path = self.path / name
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif isinstance(content, str):
                path.write_text(content)
            else:
                lines = dict(enumerate(path.read_text().split("\n"))) | content
                path.write_text("\n".join(lines.values()))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def how(self, tip="a"):
        return find_merge_proof(Repository.find(self.path), tip, "main")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "app")


def squash(world):
    world.git("switch", "--quiet", "main")
    world.git("merge", "--quiet", "--squash", "a")
    world.git("commit", "--quiet", "--message", "Squashed")


def test_no_commits_of_its_own(world):
    """A branch that was never committed to has nothing to lose, also when the default branch went on."""
    world.commit("Other", on="main", file={29: "other"})
    assert world.how() == "ancestor"
    assert is_ancestor(Repository.find(world.path), "a", "main")


def test_unmerged_work_is_not_merged(world):
    """Other branches' work, empty commits and a file that was added and removed again prove nothing."""
    world.commit("Other", on="main", file={29: "other"})
    world.commit("Empty", on="a")
    assert world.how() is None
    world.commit("Idea", on="a", idea="precious")
    (world.path / "idea").unlink()
    world.commit("Later")
    assert world.how() is None
    world.commit("Mine", on="a", file={1: "mine"})
    assert world.how() is None
    world.commit("Not quite mine", on="main", file={1: "mine!"})
    assert world.how() is None


def test_squashed_branch_counts_as_merged(world):
    """A squash is seen at once, after other commits, and after others have changed the same lines."""
    world.commit("One", on="a", file={1: "one"}, name="name")
    world.commit("Two", on="a", file={10: "two"})
    squash(world)
    assert world.how() == "same tree"
    world.commit("Other", file={29: "other"})
    assert world.how() == "nothing to add"
    world.commit("Over it", file={1: "another", 10: "another"})
    assert world.how() == "patch"
    world.commit("More", on="a", file={20: "more"})
    assert world.how() is None


def test_squashed_after_taking_the_default_branch_in(world):
    """Branches that are kept up to date by merges are seen as well."""
    world.commit("Other", on="main", file={29: "other"})
    world.commit("One", on="a", file={1: "one"})
    world.git("merge", "--quiet", "--no-edit", "main")
    squash(world)
    world.commit("Over it", file={1: "another"})
    assert world.how() == "patch"


def test_rebased_branch_counts_as_merged(world):
    """Commits that were picked one by one, among others, are found one by one; one that is missing counts."""
    commits = [world.commit(str(number), on="a", file={number: "mine"}) for number in (1, 15)]
    world.commit("Other", on="main", file={29: "other"})
    world.git("cherry-pick", commits[0])
    world.commit("Over it", file={1: "another"})
    assert world.how() is None
    world.git("cherry-pick", commits[1])
    assert world.how() == "patch"


def test_white_space_and_binary_files(world):
    """Indentation is code, and binary files differ by their content; git's own patch ids leave both out."""
    world.commit("Mine", on="a", file={1: "    mine"})
    world.commit("Other", on="main", file={1: "mine"})
    assert world.how() is None
    world.commit("Over it", file={1: "line 1"})
    world.commit("Mine after all", file={1: "    mine"})
    world.commit("Over it", file={1: "another"})
    assert world.how() == "patch"
    world.git("branch", "--force", "a", "main")
    world.commit("Mine", on="a", blob=b"\0mine")
    world.commit("Other", on="main", blob=b"\0theirs")
    assert world.how() is None


@pytest.mark.parametrize("driver", ["merge=mine", "merge=union"])
def test_merge_drivers_are_not_asked(world, driver):
    """A merge driver that keeps one side would make everything look merged; it is not asked."""
    world.git("config", "merge.mine.driver", "true")
    (world.path / ".git" / "info" / "attributes").write_text(f"file {driver}\n")
    world.commit("Mine", on="a", file="\n".join(LINES[1:]))
    world.commit("Other", on="main", file={0: "other"})
    assert world.how() is None


def test_user_settings_do_not_change_answers(world):
    """Neither settings for people's eyes nor diff drivers change the answer."""
    world.commit("One", on="a", file={1: "one"}, **{":!é*": "odd"})
    squash(world)
    world.commit("Over it", file={1: "another"}, **{":!é*": "another"})
    world.commit("Mine", on="a", file={2: "mine"})
    for setting in (
        "diff.external=false",
        "diff.noprefix=true",
        "diff.context=0",
        "diff.renames=copies",
        "diff.mnemonicPrefix=true",
        "diff.mine.textconv=true",
        "diff.mine.command=false",
        "diff.orderFile=/nowhere",
        "color.ui=always",
        "log.showSignature=true",
        "merge.directoryRenames=true",
        "core.quotePath=false",
    ):
        world.git("config", *setting.split("="))
    (world.path / ".git" / "info" / "attributes").write_text("* diff=mine\n")
    assert world.how("a~1") == "patch"
    assert world.how() is None


def test_no_history_in_common(world):
    """Nothing can be proven then, and an error of git's must not be read as an answer."""
    world.git("checkout", "--quiet", "--orphan", "other")
    world.commit("Unrelated", file="other")
    world.git("branch", "--force", "a", "other")
    assert world.how() is None
    with pytest.raises(GitError):
        find_merge_proof(Repository.find(world.path), "a", "nowhere")


def test_state_is_unknown_where_temporary_files_have_no_room(repository, monkeypatch):
    """The list says why, and is printed."""
    repository.json("worktree.create", "a", "--no-db")
    (repository.worktree("a") / "new").touch()
    repository.commit("New", cwd=repository.worktree("a"))
    repository.commit("Moved on")

    def refuse(**_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli.tempfile, "TemporaryDirectory", refuse)
    listed = repository.inv("worktree.list")
    assert listed.returncode == 0, listed.stderr
    assert "No space left on device" in listed.stderr
