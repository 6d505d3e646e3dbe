"""Tell how much can be seen from here: locks of other machines, and processes of other containers."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks_lib.waits import pid_namespace

_LOCAL = frozenset(
    [
        "apfs",
        "bcachefs",
        "btrfs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "fuse.fuse-overlayfs",
        "hfs",
        "jfs",
        "overlay",
        "ramfs",
        "reiserfs",
        "tmpfs",
        "ufs",
        "xfs",
        "zfs",
    ]
)
"""File systems that only one kernel can mount at a time."""


@dataclass(frozen=True)
class FileSystem:
    """The file system of a directory: its type and the options of its mount, as `mount` shows them."""

    type: str
    options: frozenset[str]

    @property
    def local(self) -> bool:
        """Whether only one kernel writes there at a time."""
        return self.type in _LOCAL

    @property
    def shows_locks(self) -> bool:
        """Whether all who can write there see its locks; of most network and shared file systems it is not known."""
        # NFS: the server keeps the locks, unless the mount says otherwise (man 5 nfs).
        own = {"nolock", "local_lock=flock", "local_lock=all"}
        return self.local or (self.type in ("nfs", "nfs4") and self.options.isdisjoint(own))


def find_file_system(folder: Path) -> FileSystem:
    """Return the file system of the directory *folder*, whose path is absolute and has no links."""
    import psutil

    mounts = [mount for mount in psutil.disk_partitions(all=True) if folder.is_relative_to(mount.mountpoint)]
    # The last one of the longest path hides those before it.
    mount = max(reversed(mounts), key=lambda mount: len(Path(mount.mountpoint).parts), default=None)
    return FileSystem(mount.fstype, frozenset(mount.opts.split(","))) if mount else FileSystem("?", frozenset())


def find_processes(data: Path) -> list[int]:
    """Return the processes visible here that work in the directory *data*, as all of its server do, or may do so."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.uids().effective == data.stat().st_uid and Path(process.cwd()).samefile(data):
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
        except (psutil.AccessDenied, OSError):  # in a container, root may not see where another account's process is
            if process.name() == "postgres":
                found.append(process.pid)
    return found


def find_users(file: Path) -> list[int]:
    """Return the processes visible here that have *file* open, without this one."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and str(file) in (opened.path for opened in process.open_files()):
                found.append(process.pid)
    return found


def sees_all_processes() -> bool:
    """Whether every process of this kernel is visible here: on macOS, and in Linux's first pid namespace."""
    # PROC_PID_INIT_INO in include/uapi/linux/nsfs.h
    return not Path("/proc/self").exists() or pid_namespace().endswith("pid:[4026531836]")
