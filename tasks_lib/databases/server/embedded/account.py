"""Run PostgreSQL as an unprivileged account: initdb, pg_ctl and postgres all refuse root."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import stat
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Account = pwd.struct_passwd

_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
"""The whole environment of a server: without PG* variables, which it would obey, and without the shell's secrets."""

_SMALL = 10_000
"""Bytes to read of a small file; those of PostgreSQL have some 100."""


def unprivileged_account() -> Account | None:
    """
    Return the account that runs PostgreSQL; None, unless we are root, for the current one.

    Raises:
        ServerError: If we are root and the machine has no unprivileged account.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerError("no account to run PostgreSQL as", why="It refuses root.", hint="useradd --system postgres")


def require_reach(account: Account | None, path: Path, *, hint: str) -> None:
    """
    Check that *account* may enter *path* and all directories above it, which belong to others and must not be changed.

    Raises:
        ServerError: If it may not; the error names the directory and has *hint*.
    """
    if account is None:
        return
    for directory in (path, *path.parents):
        entry = directory.stat()
        if entry.st_uid == account.pw_uid:
            needed = stat.S_IXUSR
        elif entry.st_gid == account.pw_gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not entry.st_mode & needed:
            raise ServerError(
                f"`{account.pw_name}` may not enter `{directory}`",
                why=f"PostgreSQL refuses root, so it runs as `{account.pw_name}`, which has to reach `{path}`.",
                hint=hint,
            )


def read_small_file(path: Path) -> str | None:
    """
    Return the text of *path*, None if it does not exist, although another account may own its directory.

    Raises:
        ServerError: If it is a link or a pipe, which could make root read something else or wait.
        OSError: If it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise _not_ordinary(path) from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_ordinary(path)
        return file.read(_SMALL).decode(errors="replace")


def _not_ordinary(path: Path) -> ServerError:
    return ServerError(
        f"`{path}` is not an ordinary file",
        why="PostgreSQL did not write it.",
        hint=f"find out who did, then remove it:\nls -ld {shlex.quote(str(path))}",
    )


def run_as(
    account: Account | None, command: Sequence[str | Path], *, output: Any, inherited: Sequence[int] = ()
) -> subprocess.CompletedProcess[bytes]:
    """
    Run *command* as *account*, in its own session, which the terminal's Ctrl-C does not reach.

    Args:
        output: Where stdout and stderr go: a file or `subprocess.PIPE`.
        inherited: The only other descriptors that it gets.
    """
    identity: dict[str, Any] = {}
    if account:
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",  # the account may have no access to the current directory
        env=_ENVIRONMENT,
        start_new_session=True,
        pass_fds=inherited,
        check=False,
        **identity,
    )
