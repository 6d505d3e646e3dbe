"""The registry: records that survive renames, moves and copies, and are never guessed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks_lib.databases.copy.result import CloneSummary
from tasks_lib.errors import RegistryError
from tasks_lib.files import atomic_write
from tasks_lib.worktrees.identity import Identity
from tasks_lib.worktrees.registry import Record, Registry

RECORD = Record(
    identity=Identity("a", "a", "a", "app_a", "app-a", "https://a.localhost"),
    path="/app-a",
    port=4101,
    state="ready",
    golden="golden",
    server="postgresql://host",
    base=None,
    made_worktree=True,
    clone=CloneSummary("dump", 1.5, 10, "now"),
    created_at="then",
    done=("migrate",),
)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": 2}'])
def test_commands_refuse_a_corrupt_record(repository, damage):
    """List, create, path and remove name the file, and take it neither for none nor for free."""
    slug = repository.json("worktree.create", "a")["slug"]
    file = repository.path / ".git" / "goldentree" / "worktrees" / f"{slug}.json"
    file.write_text(damage)
    for task in (["worktree.list"], ["worktree.create", "b"], ["worktree.path", "a"], ["worktree.remove", "a"]):
        result = repository.inv(*task)
        assert (result.returncode, result.stdout) == (1, ""), task
        assert f"error: record `{file}` cannot be read" in result.stderr
    assert file.read_text() == damage
    assert repository.worktree("a").exists()
    assert not repository.worktree("b").exists()
    assert len(repository.databases()) == 1


def test_a_stopped_holder_of_the_registrys_lock_is_named_and_does_not_block_for_ever(repository, monkeypatch):
    """No command waits silently, and each ends with the command that lets the holder go on."""
    monkeypatch.setattr("tasks_lib.files.QUIET_SECONDS", 0.05)
    monkeypatch.setattr("tasks_lib.worktrees.registry.WAIT_SECONDS", 0.2)
    repository.json("worktree.list")
    lock = repository.path / ".git" / "goldentree" / "lock"
    lock.parent.mkdir(exist_ok=True)
    script = """import sys
from pathlib import Path
from tasks_lib.files import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    input()"""
    with subprocess.Popen(
        [sys.executable, "-c", script, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        said = repository.refuses("worktree.create", "a")
        assert f"waiting up to 0.2 s for process {holder.pid} (-c, since " in said
        assert f", stopped) has held `{lock}` for 0.2 s" in said
        assert said.endswith(f"kill -CONT {holder.pid}\n")
        holder.kill()
    repository.json("worktree.create", "a", "--no-db")


def test_renamed_branch_and_moved_worktree_keep_their_names(repository):
    """Neither changes a name; the worktree is found by what it is called now, and goes with its database."""
    before = repository.json("worktree.create", "a")
    repository.git("branch", "--move", "a", "b")
    repository.git("worktree", "move", repository.worktree("a"), repository.path.parent / "moved")
    _, row = repository.json("worktree.list")
    assert (row["branch"], row["path"], row["state"]) == ("b", str(repository.path.parent / "moved"), "ready")
    assert (row["slug"], row["database"], row["port"]) == (before["slug"], before["database"], before["port"])
    status = repository.json("db.status", cwd=row["path"])
    assert status["database"] == before["database"]
    assert repository.json("worktree.db", cwd=row["path"])["clone"]["method"] == "kept"
    # The old name's names are taken as long as it lives.
    assert "created for branch `a`" in repository.refuses("worktree.create", "a")
    assert repository.json("worktree.remove", "b")["databases"] == "parked"
    assert repository.databases() == []
    assert repository.records() == {}


def test_relative_pointers_of_git_are_resolved(tmp_path):
    """From 2.48 on, git can write where a worktree is relative to its administrative directory."""
    administration = tmp_path / "app" / ".git" / "worktrees" / "app-a"
    administration.mkdir(parents=True)
    (administration / "gitdir").write_text("../../../../app-a/.git\n")
    registry = Registry(tmp_path / "app" / ".git")
    registry.mark(administration, "a_86f7e4")
    assert registry.paths() == {"a_86f7e4": tmp_path.resolve() / "app-a"}


def test_a_moved_repository_keeps_its_databases(repository):
    """The id moves along."""
    repository.json("worktree.create", "a")
    repository.path = repository.path.rename(repository.path.with_name("renamed"))
    repository.git("worktree", "repair", repository.path.with_name("app-a"))
    assert repository.json("worktree.remove", "a")["databases"] == "parked"


def test_a_copied_repository_gets_another_id(repository):
    """A copy gets an id of its own and can take neither worktree nor database from the original."""
    created = repository.json("worktree.create", "a")
    copy = repository.path.parent / "copy"
    shutil.copytree(repository.path, copy, symlinks=True)
    before = repository.world()
    removed = repository.inv("worktree.remove", "a", "--force", cwd=copy)
    assert removed.returncode == 1
    shutil.rmtree(copy / ".git" / "worktrees")
    removed = repository.inv("worktree.remove", "a", "--force", cwd=copy)
    assert "no database was parked" in removed.stderr
    assert "is not provably this worktree's" in removed.stderr
    assert repository.world() == before
    assert repository.json("db.status", cwd=created["path"])["database"] == created["database"]
    ids = {json.loads((path / ".git/goldentree/repository.json").read_text())["id"] for path in (copy, repository.path)}
    assert len(ids) == 2
    keys = {(path / ".git/goldentree/ownership.key").read_text() for path in (copy, repository.path)}
    assert len(keys) == 2


def test_another_name_of_the_same_repository_is_no_copy(tmp_path):
    """As with a bind mount, or another case on macOS."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "other").symlink_to(real)
    found = [Registry(path).signer for path in (real, tmp_path / "other", real)]
    assert len({(signer.repository, signer.key) for signer in found}) == 1


def test_parallel_first_runs_agree_on_one_id_and_key(tmp_path):
    """Processes that start together agree, also where only the key is missing."""

    def read(_):
        signer = Registry(tmp_path).signer
        return signer.repository, signer.key

    with ThreadPoolExecutor(8) as pool:
        (first,) = set(pool.map(read, range(16)))
        (tmp_path / "goldentree/ownership.key").unlink()
        (second,) = set(pool.map(read, range(16)))
    assert first[0] == second[0], "the id of an earlier version stays"
    assert first[1] != second[1]


@pytest.mark.parametrize("umask", [0o022, 0])
def test_key_is_secret_and_written_once(tmp_path, umask):
    """Only its owner may read it; it is in no other file, and in no text of the objects that hold it."""
    before = os.umask(umask)
    try:
        signer = Registry(tmp_path).signer
    finally:
        os.umask(before)
    file = tmp_path / "goldentree/ownership.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = file.stat().st_mtime_ns
    assert Registry(tmp_path).signer.key == signer.key == bytes.fromhex(file.read_text())
    assert file.stat().st_mtime_ns == written
    assert len(signer.key) == 32
    assert file.read_text() not in (tmp_path / "goldentree/repository.json").read_text()
    assert file.read_text() not in repr(signer)
    assert str(signer.key) not in repr(signer)


@pytest.mark.parametrize("damage", ["", "00", "x" * 64])
def test_damaged_key_is_refused_and_kept(tmp_path, damage):
    """A new key would disown every database; what is in the file is not shown."""
    Registry(tmp_path).signer  # noqa: B018 - creates it
    file = tmp_path / "goldentree/ownership.key"
    file.write_text(damage)
    with pytest.raises(RegistryError, match=r"the key .* cannot be read") as refused:
        Registry(tmp_path).signer  # noqa: B018
    assert file.read_text() == damage
    assert "x" * 8 not in str(refused.value)


def test_moved_repository_that_cannot_be_written_keeps_its_key(tmp_path, monkeypatch):
    """As in a container that mounts the git directory read-only under another path."""
    (tmp_path / "old").mkdir()
    signer = Registry(tmp_path / "old").signer
    (tmp_path / "old").rename(tmp_path / "new")

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tasks_lib.worktrees.registry.file_lock", refuse)
    assert Registry(tmp_path / "new").signer == signer


def test_port_in_use_or_leased_is_not_given(repository):
    """A new worktree gets neither a port in use nor one that another worktree has leased."""
    port = repository.json("worktree.create", "a")["port"]
    repository.json("worktree.remove", "a")
    with socket.create_server(("127.0.0.1", port)):
        assert repository.json("worktree.create", "a")["port"] == port + 1


def test_record_has_no_password(repository):
    """The records name the server without its password."""
    repository.json("worktree.create", "a")
    password = repository.url.partition("@")[0].rpartition(":")[2]
    for file in (repository.path / ".git" / "goldentree").rglob("*.json"):
        assert password not in file.read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"state": "done"},
        {"port": "4101"},
        {"identity": {}},
        {"clone": {"method": "dump"}},
        {"unknown": 1},
    ],
)
def test_a_record_with_a_wrong_field_is_unreadable(tmp_path, change):
    """A field of another type or version is an error, because this version would lose it on the next write."""
    registry = Registry(tmp_path)
    registry.save(RECORD)
    [file] = tmp_path.rglob("a.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(RegistryError, match="cannot be read"):
        registry.find("a")


def test_a_record_is_read_as_it_was_saved(tmp_path):
    """The file has the keys that are documented for `--json`."""
    registry = Registry(tmp_path)
    registry.save(RECORD)
    [file] = tmp_path.rglob("a.json")
    data = json.loads(file.read_text())
    assert (data["schema_version"], data["created"], data["clone"]["created"]) == (1, "then", "now")
    assert registry.find("a") == RECORD


def test_a_deleted_repository_is_not_created_again(tmp_path):
    """A background process that outlives its repository can neither lock nor write there."""
    registry = Registry(tmp_path / "app" / ".git")

    with pytest.raises(RegistryError, match="cannot be written: No such file"), registry.locked():
        pass
    with pytest.raises(RegistryError, match="cannot be written: No such file"):
        registry.save(RECORD)

    assert list(tmp_path.iterdir()) == []


def test_refusal_of_the_machine_names_the_file_and_the_cure(tmp_path):
    """Not the temporary name under which a file is written first."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "record"
    with pytest.raises(NotADirectoryError) as caught:
        atomic_write(path, "x")
    assert caught.value.filename == str(path)
    registry = Registry(tmp_path / "file")
    with pytest.raises(RegistryError, match="cannot be written: Not a directory") as refused, registry.locked():
        pass
    assert "ls -ld" in refused.value.hint
