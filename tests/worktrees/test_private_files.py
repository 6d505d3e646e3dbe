"""Files that receive a password, whatever the umask and the files that they are modelled on."""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import contextmanager

import pytest

from tasks_lib.worktrees import copy_tree


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def list_exposed(root, *texts):
    """Return the files below *root* that contain one of *texts* and that another account may read."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    texts = [text.encode() for text in texts]
    holding = [path for path in files if any(text in path.read_bytes() for text in texts)]
    assert holding
    return [path for path in holding if stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_no_file_with_a_password_can_be_read_by_others(repository, tmp_path):
    """The main worktree's files are open and have no password; what is made of them has one, and is private."""
    password = re.search(r"://[^:]*:([^@]*)@", repository.url)[1]
    main = repository.path
    (main / ".gitignore").write_text(".env*\nlocal\n.worktreeinclude\n")
    (main / ".worktreeinclude").write_text("local\n")
    (main / "invoke.yaml").write_text(
        "worktree:\n  write: {agent.json: '{database_url}'}\n  env_files: {web.env: {URL: '{database_url}'}}\n"
        "  keep_env: [LEDGER_URL]\n"
    )
    with umask(0):
        (main / "web.env").write_text("A=1\n")
        (main / "local").mkdir()
        (main / "local/.env").write_text("STRIPE_KEY=sk_live\n")
        repository.commit("Configure")
        os.truncate(main / ".env", 0)
        for path in (main / ".env", main / "web.env", main / "local/.env"):
            path.chmod(0o666)
        (main / ".env").write_text(
            f"WORKTREE_TEMPLATE_DB={repository.url.rpartition('/')[2]}\nWORKTREE_DB_PREFIX={repository.prefix}\n"
        )
        environment = {"DATABASE_URL": repository.url}
        repository.json("worktree.create", "a", env=environment)
        there = repository.worktree("a")
        own = {"DATABASE_URL": repository.env("a")["DATABASE_URL"]}
        (there / "local/notes").write_text(f"mine {password}")
        (there / "local/notes").chmod(0o600)
        repository.json("account.add", "a@example.org", "--credentials-file", there / "local/notes", env=environment)
        repository.json("ledger.backup", tmp_path / "backup.db", env=environment)
        repository.json("ledger.board", "--out", tmp_path / "board.html", env=environment)
        repository.json("worktree.setup", cwd=there, env=own)
        (main / "local/.env").unlink()
        assert list_exposed(tmp_path, password, "sk_live") == []
        repository.json("worktree.remove", "a", "--force", env=environment)
        assert list_exposed(tmp_path, password, "sk_live") == []
        repository.json("worktree.undo", "a", env=environment)
        assert list_exposed(tmp_path, password, "sk_live") == []
    assert stat.S_IMODE((there / "web.env").stat().st_mode) == 0o600


def test_setup_makes_an_env_file_private_that_was_open(repository):
    """A file of an earlier version, or one whose mode a user has changed."""
    repository.json("worktree.create", "a", "--no-db")
    file = repository.worktree("a") / ".env"
    file.chmod(0o644)
    repository.json("worktree.setup", cwd=file.parent)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["file", "folder"])
def test_copy_of_a_private_file_is_private_from_its_first_byte(tmp_path, monkeypatch, name):
    """A copy gets its permissions after its content, so that something else must keep it private until then."""
    (tmp_path / "folder").mkdir(mode=0o700)
    for file in (tmp_path / "file", tmp_path / "folder/file"):
        file.write_text("secret")
        file.chmod(0o600)
    seen = []

    def look(source, target, **options):
        modes = [path.stat().st_mode & 0o077 for path in (target, *target.parents) if tmp_path in path.parents]
        seen.append(0 in modes)
        return original(source, target, **options)

    original = shutil.copystat
    monkeypatch.setattr(
        shutil, "copystat", lambda source, target, **options: look(source, type(tmp_path)(target), **options)
    )
    with umask(0):
        assert copy_tree.copy(tmp_path / name, tmp_path / "copy", print)
    assert seen
    assert all(seen)
