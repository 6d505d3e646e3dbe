"""The submodules that a worktree gets, and what becomes of them when it is removed."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def library(repository):
    """Give the remote of the submodules `libs/one`, which has a submodule `inner`, and `libs/two`, not cloned."""
    repository.git("config", "--global", "protocol.file.allow", "always")
    folder = repository.path.parent
    for name in ("inner", "library"):
        repository.git("init", "--quiet", folder / name)
        (folder / name / "file").write_text(name)
        repository.commit("Start", cwd=folder / name)
    repository.git("submodule", "--quiet", "add", folder / "inner", "inner", cwd=folder / "library")
    repository.commit("Inner", cwd=folder / "library")
    for name in ("one", "two"):
        repository.git("submodule", "--quiet", "add", folder / "library", f"libs/{name}")
    repository.commit("Submodules")
    repository.git("submodule", "--quiet", "update", "--init", "--recursive", "libs/one")
    repository.git("submodule", "--quiet", "deinit", "--force", "libs/two")
    return folder / "library"


def test_submodules_are_those_of_the_main_worktree(repository, library):
    """With nested ones, and with objects of their own; `true` brings all, `false` none."""
    assert "would clone its submodules" in repository.inv("-R", "worktree.create", "a", "--no-db").stdout
    repository.json("worktree.create", "a", "--no-db")
    libs = repository.worktree("a") / "libs"
    assert (libs / "one/inner/file").read_text() == "inner"
    assert list((libs / "two").iterdir()) == []
    assert not list((repository.path / ".git/worktrees").glob("*/modules/**/alternates"))
    repository.json("worktree.create", "b", "--no-db", env={"WORKTREE_SUBMODULES": "true"})
    assert (repository.worktree("b") / "libs/two/inner/file").exists()
    repository.json("worktree.create", "c", "--no-db", env={"WORKTREE_SUBMODULES": "false"})
    assert list((repository.worktree("c") / "libs/one").iterdir()) == []
    repository.json("worktree.setup", cwd=repository.worktree("c"))
    assert (repository.worktree("c") / "libs/one/file").exists()


def test_submodule_that_cannot_be_cloned_undoes_everything(repository, library):
    """The last line of the hint creates the worktree without submodules."""
    shutil.rmtree(library)
    said = repository.refuses("worktree.create", "a", "--no-db")
    assert "library" in said
    assert said.splitlines()[-1].strip() == "WORKTREE_SUBMODULES=false inv worktree.create a"


def test_removed_worktree_with_submodules_is_restored(repository, library):
    """Work in a submodule blocks the removal until it is pushed; undo checks out the submodule where it was."""
    repository.json("worktree.create", "a", "--no-db")
    there = repository.worktree("a") / "libs/one"
    repository.git("switch", "--quiet", "--create", "topic", cwd=there)
    (there / "file").write_text("changed")
    assert "uncommitted change" in repository.refuses("worktree.remove", "a")
    repository.commit("Change", cwd=there)
    for options in ([], ["--force"]):
        repository.refuses("worktree.remove", "a", *options)
    assert "none of its remotes has" in repository.refuses("worktree.teardown", cwd=repository.worktree("a"))
    repository.git("push", "--quiet", "origin", "topic", cwd=there)
    commit = repository.git("rev-parse", "HEAD", cwd=there)
    repository.json("worktree.remove", "a", "--force")
    repository.json("worktree.undo", "a")
    assert repository.git("rev-parse", "HEAD", cwd=there) == commit
    assert (there / "inner/file").exists()
    assert "M libs/one" in repository.git("status", "--porcelain", cwd=repository.worktree("a"))
