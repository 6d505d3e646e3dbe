"""Files that a branch or another program has put where we read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tasks_lib.errors import ToolchainError
from tasks_lib.files import LARGEST, read_foreign_file
from tasks_lib.toolchains import sources


@pytest.fixture
def there(tmp_path):
    """Give a linked worktree."""
    main = tmp_path / "main"
    subprocess.run(["git", "init", "--quiet", main], check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message", "Start"], cwd=main, check=True)
    subprocess.run(["git", "worktree", "add", "--quiet", tmp_path / "there"], cwd=main, check=True)
    (main / "file").write_text("of main")
    (tmp_path / "there/file").write_text("of the branch")
    (tmp_path / "secret").write_text("of this account")
    return tmp_path / "there"


@pytest.mark.parametrize("name", ["pipe", "zero", "environ", "folder"])
def test_only_regular_files_are_read(tmp_path, name):
    """Nothing is waited for, and nothing is endless: neither a pipe, a device, nor a file of the kernel."""
    path = tmp_path / name
    if name == "environ" and not Path("/proc/self/environ").exists():
        pytest.skip("no /proc on this system")
    if name == "pipe":
        os.mkfifo(path)
    elif name == "folder":
        path.mkdir()
    else:
        path.symlink_to({"zero": "/dev/zero", "environ": "/proc/self/environ"}[name])
    with pytest.raises(OSError, match="it is not a regular file"):
        read_foreign_file(path, links_out=True)


def test_large_file_is_not_read(tmp_path):
    """A branch cannot fill the memory."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(LARGEST)
    assert len(read_foreign_file(tmp_path / "large")) == LARGEST
    os.truncate(tmp_path / "large", LARGEST + 1)
    with pytest.raises(OSError, match="it is larger than 16 MB"):
        read_foreign_file(tmp_path / "large")


def test_links_lead_into_the_worktree_and_main_only(there, tmp_path):
    """By themselves, or below a folder that is a link; what a package manager has installed may link to its cache."""
    (there / "inner").symlink_to("file")
    (there / "to_main").symlink_to(tmp_path / "main/file")
    (there / "out").symlink_to(tmp_path / "secret")
    (there / "above").symlink_to("..")
    (there / "node_modules").mkdir()
    (there / "node_modules/cached").symlink_to(tmp_path / "secret")
    assert read_foreign_file(there / "inner") == b"of the branch"
    assert read_foreign_file(there / "to_main") == b"of main"
    assert read_foreign_file(there / "node_modules/cached") == b"of this account"
    assert read_foreign_file(there / "out", links_out=True) == b"of this account"
    for name in ("out", "above/secret"):
        with pytest.raises(OSError, match="it is a link out of its worktree"):
            read_foreign_file(there / name)
    (tmp_path / "main/out").symlink_to(tmp_path / "secret")
    assert read_foreign_file(tmp_path / "main/out") == b"of this account"


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (sources.read_json, "[" * 200_000),
        (sources.read_toml, f"a = {'[' * 200_000}"),
        (sources.read_python, f"a = {'-' * 200_000}1"),
    ],
)
def test_deep_nesting_is_an_error_of_the_file(tmp_path, read, text):
    """A parser that gives up is not a bug of ours."""
    (tmp_path / "file").write_text(text)
    with pytest.raises(ToolchainError, match="cannot be read"):
        read(tmp_path / "file")


def test_pipes_in_a_worktree_stop_no_task(repository):
    """The file is named, at once."""
    repository.git("worktree", "add", "--quiet", "-b", "a", repository.worktree("a"))
    for name in (".env", "compose.yaml", "package.json", ".envrc", "alembic.ini", "manage.py"):
        os.mkfifo(repository.worktree("a") / name)
    refused = repository.inv("worktree.setup", cwd=repository.worktree("a"))
    assert refused.returncode == 1
    assert "/.env` cannot be read: it is not a regular file" in refused.stderr
    repository.inv("worktree.status", cwd=repository.worktree("a"))
    listed = repository.inv("worktree.list")
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 3)
