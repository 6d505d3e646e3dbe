"""
Replace files atomically, and lock files against other processes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.waits import QUIET_SECONDS, Holder, note_holder, read_holder, say

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLL_SECONDS = 0.005
"""How often a waiting process tries again: locks are held for milliseconds."""

WAIT_SECONDS = 60.0
"""How long to wait for such a lock."""

STATE_FOLDER = "goldentree"
"""The folder in the git common directory where everything is that this tool knows of a repository."""


LARGEST = 16 << 20
"""The size in bytes of the largest file that is read from a branch."""

_INSTALLED = {"node_modules", ".venv", "venv", "site-packages"}
"""Folders of package managers, which link to their caches."""


class LockHeldError(Exception):
    """
    Another process still held the lock when the time was up.

    Attributes:
        holder: Who holds it.
    """

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        super().__init__(f"held by {holder}")


def atomic_write(path: Path, data: bytes | str, *, mode: int | None = None, durable: bool = False) -> None:
    """
    Replace the file *path*: readers see the old content or the new one, and a failure leaves no other file behind.

    Args:
        path: Its folder must exist. A hard link to the old file keeps the old content.
        data: Text is written as UTF-8, line ends unchanged.
        mode: The file's permissions, by default 0600.
        durable: Whether file and folder reach the disk before this returns.

    Raises:
        OSError: If it cannot be written.
    """
    # Named after *path*, so that a `.env*` line in .gitignore also covers the file that a killed process leaves.
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    except OSError as error:
        error.filename = str(path)
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            # Also the default: a strict umask may have removed our own permissions.
            os.fchmod(descriptor, 0o600 if mode is None else mode)
            if durable:
                file.flush()
                os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # a failed write names no file
        raise
    if durable:
        _sync_folder(path.parent)


def read_foreign_file(path: Path, *, links_out: bool = False) -> bytes:
    """
    Return the content of *path*, which a branch or another program may have put there.

    Args:
        links_out: Whether it may be a link to a file outside of its worktree and of the main one.

    Raises:
        OSError: If it is not a regular file, is larger than `LARGEST`, or leads out of a linked worktree.
    """
    if not links_out and _leads_out(path):
        raise OSError(errno.EPERM, "it is a link out of its worktree", str(path))
    # Before it is opened, because opening a device may do something; O_NONBLOCK, so that a pipe is not waited for.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 - a descriptor
        found = os.fstat(file.fileno())
        data = file.read(LARGEST + 1)
    # The files of /proc are regular and have no size.
    if not stat.S_ISREG(found.st_mode) or (data and not found.st_size):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST >> 20} MB", str(path))
    return data


def _leads_out(path: Path) -> bool:
    """Whether *path*, in a linked worktree, is a link to a file that is neither there nor in the main worktree."""
    found = os.path.realpath(path)
    if found == os.path.abspath(path) or not _INSTALLED.isdisjoint(path.parts):  # noqa: PTH100 - compared as text
        return False
    root = next((parent for parent in path.parents if (parent / ".git").exists()), None)
    if root is None or not (root / ".git").is_file():
        return False
    main = (root / ".git").read_text(errors="replace").removeprefix("gitdir:").strip().partition("/.git/worktrees/")[0]
    return not any(found.startswith(os.path.realpath(place) + os.sep) for place in (root, root / main))


def open_private(path: str, flags: int) -> int:
    """Open a file as `open` asks its `opener`; only its owner can read a new one."""
    return os.open(path, flags, 0o600)


def make_state_folder(folder: Path) -> None:
    """
    Create *folder* and the folders above it, but nothing above `STATE_FOLDER`.

    A background process can outlive its repository; a repository that has been deleted must stay deleted.

    Raises:
        OSError: If it cannot be created, or the repository no longer exists.
    """
    if not folder.is_dir():
        if folder.name != STATE_FOLDER:
            make_state_folder(folder.parent)
        folder.mkdir(exist_ok=True)


def delete_tree(folder: Path) -> None:
    """
    Delete *folder* with all it contains; what cannot be deleted stays.

    Read-only folders (Go's module cache, renv) are made writable if they are ours. Links are not followed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        return
    for _, _, _, descriptor in os.fwalk(folder):
        found = os.fstat(descriptor)
        if found.st_uid == os.geteuid():
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode) | stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def file_lock(path: Path, *, timeout: float = WAIT_SECONDS) -> Iterator[None]:
    """
    Hold an exclusive lock on the file *path*, which is created with mode 0600 and then stays.

    The kernel releases the lock when the process dies. While it is held, the file says who holds it. A wait of more
    than a second is explained on stderr.

    Args:
        path: Its folder must exist.
        timeout: Seconds to wait for another process or thread; 0 tries once.

    Raises:
        LockHeldError: If the time is up.
        OSError: If the file cannot be opened, or its file system has no locks.
    """
    # Not the package filelock: it takes 75 ms to import, and these are two system calls.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        wait_for_flock(descriptor, path, timeout=timeout)
        with suppress(OSError):  # on a full disk the holder stays unnamed
            note_holder(descriptor)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
            # Not only closed: a child that was forked at this moment has the descriptor, too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def find_holder(path: Path) -> Holder | None:
    """
    Return who holds the lock file *path*, None if it is free. Writes nothing and does not wait.

    Raises:
        OSError: If it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_holder(path)
    finally:
        os.close(descriptor)
    return None


def wait_for_flock(
    descriptor: int, path: Path, *, operation: int = fcntl.LOCK_EX, timeout: float = WAIT_SECONDS
) -> None:
    """
    Lock the open file *descriptor*, whose path is *path*; explain a wait of more than a second on stderr.

    Raises:
        LockHeldError: If another process or thread still holds the lock after *timeout* seconds.
        OSError: If the file system has no locks.
    """
    started, due, said = time.monotonic(), QUIET_SECONDS, ""
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            return
        waited = time.monotonic() - started
        if waited >= timeout:
            raise LockHeldError(read_holder(path))
        if waited >= due:
            due += QUIET_SECONDS
            holder = read_holder(path)
            if str(holder) != said:
                said = str(holder)
                say(f"waiting up to {timeout:g} s for {holder}, which holds `{path}`\n{holder.cure}")
        time.sleep(_POLL_SECONDS)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
