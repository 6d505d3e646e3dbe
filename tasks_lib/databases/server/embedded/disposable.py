"""Run a server for the length of a `with` block: for tests, demo and smoke."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.databases.server.embedded.cluster import Cluster, open_to_pass
from tasks_lib.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.databases.server.binaries import Binaries

_PREFIX = "goldentree-server-"
"""The prefix of disposable servers' directories in the system's temporary directory."""


@contextmanager
def disposable_server(binaries: Binaries | None = None) -> Iterator[str]:
    """
    Run a server for the length of a `with` block, yield its URL, and delete everything of it afterwards.

    This process holds a lock on its directory. If the process is killed (`kill -9`), the lock is released, and the
    next disposable server of the same user stops and deletes the orphan.
    """
    _sweep()
    made = Path(tempfile.mkdtemp())
    lock = os.open(made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Renamed only when locked: a directory that has the prefix and is not locked belongs to a killed process.
    cluster = Cluster(made.rename(made.with_name(_PREFIX + made.name)), durable=False, binaries=binaries)
    try:
        open_to_pass(cluster.root)
        yield cluster.start()
    finally:
        cluster.destroy()
        os.close(lock)


def _sweep() -> None:
    for root in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, ServerError):  # in use, another user's, or just removed by another process
            # Any user can put a link of that name there: it must be a directory, and ours.
            lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    Cluster(root, durable=False).destroy()
            finally:
                os.close(lock)
