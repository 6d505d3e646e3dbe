"""
Read and write logins in `.local-credentials`, one line `email / password` each, and hash passwords.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shlex
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from typing import TYPE_CHECKING

from tasks_lib.errors import SettingsError
from tasks_lib.files import LockHeldError, wait_for_flock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = "# Logins of the development account, written by `golden.build`. Keep this file out of git.\n"

_LOGIN = re.compile(r"^[ \t]*(\S+)[ \t]+/[ \t]+(\S.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Credentials:
    """The file of logins at *path*, which only its owner may read."""

    path: Path

    def password(self, email: str) -> str | None:
        """
        Return the password for *email* in the file; None if it has none.

        Raises:
            SettingsError: If the file cannot be read, or is not a regular file of this user.
        """
        with suppress(FileNotFoundError), self._opened("rb") as file:
            return self._logins(file).get(email.lower())
        return None

    def ensure(self, email: str) -> tuple[str, bool]:
        """
        Return the password for *email* and whether it is new; append a new one if the file has none.

        Concurrent processes take turns and get the same password. A new one is on disk before it is returned.

        Raises:
            SettingsError: Like `password`, or if the file cannot be written.
        """
        with self._opened("a+b") as file:
            # Also on a new file: a strict umask may have removed our own permissions.
            os.fchmod(file.fileno(), 0o600)
            if known := self._logins(file).get(email.lower()):
                return known, False
            password = secrets.token_urlsafe(18)
            self._append(file, f"{email.lower()} / {password}\n")
            return password, True

    def _append(self, file: FileIO, line: str) -> None:
        """
        Add *line* with a single write.

        The kernel completes the write of one line, so a kill leaves all of it or nothing. A line that a power failure
        cut off was not yet returned to a caller. If the disk is full, remove the part that was written.
        """
        size = file.seek(0, os.SEEK_END)
        before = "" if size else HEADER
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            before = "\n"
        data = (before + line).encode()
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(size)
            raise

    def _logins(self, file: FileIO) -> dict[str, str]:
        file.seek(0)
        try:
            text = file.readall().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SettingsError(
                f"`{self.path}` is not UTF-8 text", why=f"{error.reason} at byte {error.start}", hint="save it as UTF-8"
            ) from None
        return {email.lower(): password for email, password in _LOGIN.findall(text)}

    @contextmanager
    def _opened(self, mode: str) -> Iterator[FileIO]:
        """Open and lock the file: "rb" shared, FileNotFoundError if it does not exist; "a+b" exclusively."""
        hint = f"look at its type and owner:\nls -ld {shlex.quote(str(self.path))}"
        try:
            with FileIO(self.path, mode, opener=_open) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                    raise SettingsError(
                        f"`{self.path}` is not a regular file of this user",
                        why="another user could read the passwords in it",
                        hint=hint,
                    )
                # Not `file_lock`: readers share this lock, and it is on the file that the user asked for.
                operation = fcntl.LOCK_EX if file.writable() else fcntl.LOCK_SH
                wait_for_flock(file.fileno(), self.path, operation=operation)
                yield file
        except LockHeldError as error:
            raise SettingsError(f"{error.holder} has locked `{self.path}`", hint=error.holder.cure) from None
        except OSError as error:
            if mode == "rb" and isinstance(error, FileNotFoundError):
                raise
            what = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be used: {error.strerror}"
            raise SettingsError(f"`{self.path}` {what}", hint=hint) from None


def hash_password(password: str) -> str:
    """Return an Argon2id hash of *password* in PHC format, with a new salt."""
    from argon2 import PasswordHasher

    return PasswordHasher().hash(password)


def verify_password(password: str, hash_: str) -> bool:
    """Return whether *hash_* is an Argon2 hash of *password*."""
    from argon2 import PasswordHasher
    from argon2.exceptions import VerificationError

    try:
        return PasswordHasher().verify(hash_, password)
    except (VerificationError, ValueError):  # InvalidHashError is a ValueError, and so is what non-ASCII raises
        return False


def _open(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a named pipe would block.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
