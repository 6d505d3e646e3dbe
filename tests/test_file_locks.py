"""Files: replaced as a whole or not at all, deleted, and locked for as long as the process lives."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks_lib.files import LockHeldError, atomic_write, delete_tree, file_lock
from tasks_lib.waits import Holder, pid_namespace, read_holder

HOLD = """
import sys, time
from pathlib import Path
from tasks_lib.files import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds the lock on `lock`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "lock"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    """Readers never see half of it, and no temporary file remains."""
    path = tmp_path / "file"
    atomic_write(path, "old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError, match="disk full"):
        atomic_write(path, "new", durable=True)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_are_private_by_default(tmp_path):
    """Whatever the umask allows."""
    before = os.umask(0)
    try:
        atomic_write(tmp_path / "private", b"\xff")
        atomic_write(tmp_path / "shared", "x", mode=0o644)
        with file_lock(tmp_path / "lock"):
            pass
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"private": 0o600, "shared": 0o644, "lock": 0o600}


def test_a_held_lock_names_its_holder(tmp_path, holder):
    """Trying it neither waits nor erases the pid."""
    for _ in range(2):
        with (
            pytest.raises(LockHeldError, match=rf"^held by process {holder.pid} \(-c, since \d\d:\d\d:\d\d\)$"),
            file_lock(tmp_path / "lock", timeout=0),
        ):
            pytest.fail("two processes hold the lock")


def test_a_killed_process_releases_its_lock(tmp_path, holder):
    """The lock file stays in place, as others may be waiting on it."""
    holder.send_signal(signal.SIGKILL)
    with file_lock(tmp_path / "lock", timeout=10):
        assert read_holder(tmp_path / "lock").pid == os.getpid()
    assert (tmp_path / "lock").exists()


def test_a_wait_for_a_lock_names_a_stopped_holder_and_ends(tmp_path, holder, monkeypatch, capsys):
    """Within the limit it says once who holds the lock, that it is stopped, and how to go on."""
    monkeypatch.setattr("tasks_lib.files.QUIET_SECONDS", 0.05)
    holder.send_signal(signal.SIGSTOP)
    with (
        pytest.raises(LockHeldError, match=rf"process {holder.pid} \(.*, stopped\)$") as caught,
        file_lock(tmp_path / "lock", timeout=0.3),
    ):
        pytest.fail("two processes hold the lock")
    said = capsys.readouterr().err
    assert said.count(f"for process {holder.pid} (") == 1
    assert said.endswith(f"kill -CONT {holder.pid}\n")
    assert caught.value.holder.cure.endswith(f"kill -CONT {holder.pid}")


def test_a_lock_file_that_names_another_process_is_not_believed(tmp_path):
    """What killed or other programs have left in it is not who holds it now; Linux knows."""
    path = tmp_path / "lock"
    if not Path("/proc/locks").exists():
        pytest.skip("only Linux lists locks")
    script = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        stale = {"pid": os.getpid(), "place": pid_namespace(), "task": "\x1b[2Jtask", "since": "2026-01-01"}
        for note in ("", "{", "[]", json.dumps(stale), json.dumps(stale | {"place": "elsewhere pid:[1]"})):
            path.write_text(note)
            assert str(read_holder(path)) == f"process {process.pid}"
        process.stdin.write("\n")


def test_a_holder_in_another_pid_namespace_is_not_taken_for_a_process_here():
    """Its number means another process here, which must not be ended."""
    holder = Holder(os.getpid(), "elsewhere pid:[1]", "worktree.create", "12:00:00")
    assert str(holder) == (
        f"process {os.getpid()} on elsewhere in another pid namespace (worktree.create, since 12:00:00)"
    )
    assert "kill" not in holder.cure


def test_a_child_process_does_not_keep_the_lock(tmp_path):
    """A server that is started under the lock runs on after it."""
    with file_lock(tmp_path / "lock"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with file_lock(tmp_path / "lock", timeout=0):
            pass
    finally:
        child.kill()
        child.wait()


def test_threads_exclude_each_other(tmp_path):
    """Steps of one stage run in threads and update the same records."""
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        for _ in range(10):
            with file_lock(tmp_path / "lock"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_delete_tree_makes_our_read_only_folders_writable(home):
    """As Go's module cache has them. What a link leads to stays as it is, and so does what another user owns."""
    root, user = os.geteuid() == 0, 65534 if os.geteuid() == 0 else os.geteuid()
    tree, outside = home / "tree", home / "outside"
    for folder in (tree / "cache" / "pkg", tree / "alien", outside):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    (tree / "cache" / "link").symlink_to(outside)
    for path in (home, *home.rglob("*")):
        os.chown(path, 0 if root and path.parent == tree / "alien" else user, -1, follow_symlinks=False)
    os.chown(tree / "alien", 0 if root else user, -1)
    for folder in (outside, tree / "alien", tree / "cache" / "pkg", tree / "cache"):
        folder.chmod(0o555)
    if root:
        os.seteuid(user)
    try:
        delete_tree(tree)
    finally:
        if root:
            os.seteuid(0)
    assert (tree / "alien" / "file").exists() == root
    assert not (tree / "cache").exists()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o555
    outside.chmod(0o755)
    assert (outside / "file").read_text() == "x"
