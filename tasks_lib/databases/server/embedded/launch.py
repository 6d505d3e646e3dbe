"""Start a postmaster, and say why it did not start."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from typing import TYPE_CHECKING

from tasks_lib.databases.server.embedded.account import run_as
from tasks_lib.databases.server.embedded.installation import last_lines
from tasks_lib.errors import ServerError, find_cure
from tasks_lib.files import open_private

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.databases.server.binaries import Binaries
    from tasks_lib.databases.server.embedded.account import Account

_PATIENCE = 120
"""Seconds for a start: after a crash it replays the log."""

_LEAVING = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')
"""What PostgreSQL says while processes of the server before it are ending."""

_SEGMENT = 16 * 1024**2
"""Bytes that a start may need at once: one file of the write-ahead log."""


def launch_postmaster(binaries: Binaries, account: Account | None, data: Path, log: Path, port: int, lock: int) -> str:
    """
    Start the server of *data* on *port*, and return an empty text, or what PostgreSQL says is in its way for a moment.

    Args:
        log: The file to append its output to.
        lock: The descriptor that the server and all its processes inherit.

    Raises:
        ServerError: If it does not start, with the reason that PostgreSQL gave.
        OSError: If the log cannot be written.
    """
    with open(log, "a+b", opener=open_private) as output:
        start = output.tell()
        # The server inherits our log as its output, so it holds no pipe of ours and needs no right to the path.
        started = run_as(
            account,
            [
                *(binaries.program("pg_ctl"), "start", "--silent", "--wait", f"--timeout={_PATIENCE}"),
                *(f"--pgdata={data}", f"--options=-p {port}"),
            ],
            output=output,
            inherited=(lock,),
        )
        if started.returncode == 0:
            return ""
        output.seek(start)
        said = output.read().decode(errors="replace")
    if not said.strip() and shutil.disk_usage(data).free < _SEGMENT:
        said = os.strerror(errno.ENOSPC)  # the log is on the same disk
    for line in said.splitlines():
        if any(words in line for words in _LEAVING):
            return line
    if "could not bind" in said and os.strerror(errno.EADDRINUSE) in said:
        what = f"port {port} of the embedded server is taken"
        hint = f"change `port=` in `{log.with_name('pg_service.conf')}`, or end what listens there:\nlsof -i :{port}"
    else:
        what = "the embedded server did not start"
        hint = find_cure(said, data) or f"tail -n 50 {shlex.quote(str(log))}"
    raise ServerError(what, why=f"{last_lines(said)}\nThe log is `{log}`.".strip(), hint=hint)
