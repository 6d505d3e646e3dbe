"""
Copy files and folders, sharing blocks if the file system can (APFS, Btrfs, XFS).

A copy gets its name only when it is complete. Files that vanish during the copy are skipped, because caches and
build folders change at any time.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.worktrees.virtual_environments import is_environment

if TYPE_CHECKING:
    from collections.abc import Callable

_FICLONE = 0x40049409
"""Linux's request to share all blocks (linux/fs.h; the same number on x86 and ARM)."""

_TELL_SECONDS = 5.0


def copy(source: Path, target: Path, report: Callable[[str], object]) -> bool:
    """
    Copy the file, link or folder *source* as *target*, with permissions and times; return whether it still existed.

    Args:
        target: Must not exist; its folder must.
        report: Called with the progress every few seconds.

    Raises:
        OSError: If something cannot be read or written. Nothing is left behind.
    """
    # The same name every time, so that the next run removes what a killed run left.
    unfinished = target.with_name(f".{target.name}.goldentree")
    remove(unfinished)
    try:
        # A copy gets its permissions last; until then only its owner may read it.
        if source.is_dir() and not source.is_symlink():
            unfinished.mkdir(mode=0o700)
            _copy_folder(source, unfinished, report)
        else:
            if source.is_file() and not source.is_symlink():
                unfinished.touch(mode=0o600)
            shutil.copy2(source, unfinished, follow_symlinks=False)
        unfinished.rename(target)
    except FileNotFoundError:
        if os.path.lexists(source):
            raise
        return False
    finally:
        remove(unfinished)
    return True


def remove(path: Path) -> None:
    """Remove the file, link or folder *path*, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def _copy_folder(source: Path, target: Path, report: Callable[[str], object]) -> None:
    count, told = 0, time.monotonic()

    def copied(file: str, to: str) -> None:
        nonlocal count, told
        if Path(file).is_file():  # no socket, no pipe, and not gone
            _copy_file(file, to)
            count += 1
        if time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            report(f"{count} files of {source.name}")

    def left_out(folder: str, names: list[str]) -> list[str]:
        paths = [Path(folder, name) for name in names]
        environments = [path.name for path in paths if is_environment(path)]
        for name in environments:
            report(f"{Path(folder, name)} is a Python environment, which works only there, and is left out")
        # Worktrees and submodules, which only git can make.
        return environments + [path.name for path in paths if (path / ".git").is_file()]

    try:
        shutil.copytree(source, target, symlinks=True, copy_function=copied, ignore=left_out, dirs_exist_ok=True)
    except shutil.Error as error:
        # Each is (source, target, why).
        failed = [failure for failure in error.args[0] if os.path.lexists(failure[0])]
        if failed:
            raise OSError("\n".join(f"{file}: {reason}" for file, _, reason in failed[:5])) from None


def _copy_file(source: str, target: str) -> None:
    try:
        _share(source, target)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except FileNotFoundError:
            Path(target).unlink(missing_ok=True)
            return
    shutil.copystat(source, target)


if sys.platform == "darwin":  # pragma: no cover - the same test runs there

    def _share(source: str, target: str) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        if library.clonefile(os.fsencode(source), os.fsencode(target), 0):
            raise OSError(ctypes.get_errno(), "clonefile")

else:

    def _share(source: str, target: str) -> None:
        with open(source, "rb") as origin, open(target, "wb") as clone:  # noqa: PTH123 - descriptors
            fcntl.ioctl(clone, _FICLONE, origin.fileno())
