"""
Servers to measure on: each PostgreSQL of the machine, with its data on each file system that we can have.

Durable ones (fsync on): a clone that is fast only until the next power cut is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.embedded.cluster import Cluster, open_to_pass
from tasks_lib.databases.server.url import DatabaseUrl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tasks_lib.databases.server.binaries import Binaries

_MAKERS = {
    "ext4": ("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"),  # not later, beside what is timed
    "xfs (reflink)": ("mkfs.xfs", "-q", "-m", "reflink=1"),
}
_IMAGE_BYTES = 16 * 1024**3
"""Of a sparse file: a golden of 1 GB with its twin, snapshots and clones; it takes what is written, no more."""


@dataclass(frozen=True)
class FileSystem:
    """A directory to keep servers in, and what it is on."""

    name: str
    directory: Path


@dataclass(frozen=True)
class Target:
    """A running server and its programs."""

    programs: Binaries
    file_system: str
    url: DatabaseUrl

    @property
    def server(self) -> Server:
        """The server to connect to."""
        return Server(self.url)

    @property
    def name(self) -> str:
        """Such as `18.6 on ext4`."""
        return f"{self.programs.release} on {self.file_system}"


def postgres_versions() -> list[Binaries]:
    """Return the embedded PostgreSQL (else the newest there is) and the newest of another major version."""
    first = binaries.find_server_programs()
    complete = [found for found in binaries.list_installed() if found.has(*binaries.SERVER, *binaries.CLIENT)]
    return [first, *[found for found in complete if found.major != first.major][:1]]


@contextmanager
def file_systems(scratch: Path) -> Iterator[tuple[list[FileSystem], list[str]]]:
    """
    Give new file systems, ext4 and XFS with reflink, or the scratch directory's own where we may mount none.

    With them comes a line for each that is left out. The scratch directory's own is not preferred, because it has a
    past and options of its own: on an ext4 without a journal, for one, a new file takes the longer the more were just
    deleted (`recently_deleted` in Linux's fs/ext4/ialloc.c), so every dropped clone would slow down the next.
    """
    found, left_out = [], []
    with ExitStack() as mounted:
        for name, maker in _MAKERS.items():
            try:
                found.append(FileSystem(name, mounted.enter_context(_mounted_image(scratch, maker))))
            except (OSError, RuntimeError) as error:
                left_out.append(f"{name} on a loop device is left out: {error}")
        if not found:
            found.append(_own_file_system(scratch))
        for each in found:
            # PostgreSQL refuses root, and the account that it runs as has to reach its data.
            open_to_pass(each.directory)
        yield found, left_out


@contextmanager
def running(programs: Binaries, file_system: FileSystem) -> Iterator[Target]:
    """Run a new server of *programs* on *file_system*, and delete it afterwards."""
    cluster = Cluster(file_system.directory / f"postgresql-{programs.major}", binaries=programs)
    try:
        yield Target(programs, file_system.name, DatabaseUrl.parse(cluster.start()))
    finally:
        cluster.destroy()


@contextmanager
def _mounted_image(scratch: Path, maker: tuple[str, ...]) -> Iterator[Path]:
    """
    Make a file system in a file with the command *maker*, and mount it.

    Raises:
        OSError, RuntimeError: If that cannot be done here.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise RuntimeError("it takes root on Linux to mount it")
    image, directory = scratch / f"{maker[0]}.img", scratch / maker[0]
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    directory.mkdir()
    _run(*maker, str(image))
    # With `loop`, the kernel frees the device by itself as soon as the file system is unmounted.
    _run("mount", "-o", "loop", str(image), str(directory))
    try:
        yield directory
    finally:
        _unmount(directory)
        image.unlink()


def _unmount(directory: Path) -> None:
    """Unmount *directory* once the last of the server's processes has let go of it, or when that takes too long."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            _run("umount", str(directory))
        except RuntimeError:
            time.sleep(0.1)
        else:
            return
    _run("umount", "--lazy", str(directory))


def _own_file_system(scratch: Path) -> FileSystem:
    """Return the file system that the directory *scratch* is on."""
    directory = scratch / "own"
    directory.mkdir()
    if sys.platform == "darwin":
        return FileSystem("apfs", directory)
    return FileSystem(_run("findmnt", "--noheadings", "--output=FSTYPE", "--target", str(directory)), directory)


def _run(*command: str) -> str:
    """
    Run *command* and return what it printed.

    Raises:
        RuntimeError: If it is not there or fails.
    """
    program = shutil.which(command[0])
    if not program:
        raise RuntimeError(f"there is no `{command[0]}`")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{command[0]}` failed: {done.stderr.strip()}")
    return done.stdout.strip()
