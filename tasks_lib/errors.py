"""
Every failure that a user can meet and fix.

.. code-block:: text

    GoldentreeError              base; an Invoke `Exit`, so `inv` prints it and exits with 1
    ├── SettingsError            a setting that is unknown, malformed or contradicts another
    ├── GitError                 git refused, or the repository is not supported
    │   └── BranchError          a branch name or state that makes a worktree impossible
    ├── RegistryError            a record that cannot be read, or is held by another process
    ├── WorktreeError            a worktree that is missing, in the way, or holds work
    ├── EnvFileError             an env file that cannot be edited without loss
    ├── ServerError              PostgreSQL cannot be reached, or refuses the connection
    ├── DatabaseError            a database operation that failed or was refused
    │   ├── GoldenMissingError   the golden template does not exist
    │   ├── OwnershipError       a database that is not provably ours
    │   └── CloneError           a clone that could not be built or did not verify
    ├── ToolchainError           migrate or generate failed, or no tool could be chosen
    │   └── WrongDatabaseError   a tool used a database that is not the worktree's
    ├── MachineError             the machine refuses: a full disk, a read-only file system, too many open files
    ├── TwilioError              Twilio refuses, or its answer is invalid or missing
    ├── LedgerError              the ledger cannot be used, or refuses
    │   ├── NotFoundError        a row does not exist
    │   ├── ConflictError        another agent was first, or the state of a row forbids it
    │   ├── CycleError           a dependency that would create a cycle
    │   ├── NoTargetError        no agent can be asked; exit status 4
    │   ├── TimedOutError        a wait reached its time limit; exit status 5
    │   └── SchemaTooNewError    the ledger was written by a newer version of this tool
    └── Interrupted              Ctrl-C or SIGTERM, after the rollback

Any other exception is a bug and shows its traceback.
"""

from __future__ import annotations

import errno
import os
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

# The one import of Invoke outside `collections`: `Program.run` prints only its own exceptions
# without a traceback (invoke/program.py, `except (UnexpectedExit, Exit, ParseError)`).
from invoke.exceptions import Exit

from tasks_lib.escaping import escape_controls, indent_rest
from tasks_lib.program_name import name_program

if TYPE_CHECKING:
    from collections.abc import Iterator


class GoldentreeError(Exit):
    """
    An expected failure: what was found, why it stops the command, and how to fix it.

    Args:
        what: What was found; lower case, names in backticks, no full stop.
        why: Why it stops the command, unless *what* says so.
        hint: How to fix it; the last line is a command on its own. `inv` in a command becomes the called program.

    The exit status is 1, as for Invoke's usage errors. Only waits have others, so that scripts can tell them apart.
    """

    kind = "error"
    """Stable kebab-case name of the failure; `error.code` in JSON documents."""

    status = 1
    """Exit status of the command."""

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        self.what = what
        self.why = why
        self.hint = name_program(hint)
        super().__init__(message=self._format(), code=self.status)

    def add(self, *, why: str = "", hint: str = "") -> None:
        """Add what only the caller knows: the lines of *why*, and *hint* if the error has none."""
        self.why = "\n".join(filter(None, [self.why, why]))
        self.hint = self.hint or name_program(hint)
        self.message = self._format()

    def _format(self) -> str:
        # Invoke prints it, not `output`.
        lines = [f"error: {indent_rest(self.what)}"]
        lines += [f"  {line}" for line in escape_controls(self.why).splitlines()]
        if self.hint:
            first, *rest = escape_controls(self.hint).splitlines()
            lines += [f"hint: {first}", *(f"      {line}" for line in rest)]
        return "\n".join(lines)

    def __str__(self) -> str:
        return str(self.message)


class SettingsError(GoldentreeError):
    """A setting that is unknown, malformed or contradicts another."""

    kind = "settings"


class GitError(GoldentreeError):
    """git refused, or the repository is not supported."""

    kind = "git"


class BranchError(GitError):
    """A branch name or state that makes a worktree impossible."""

    kind = "branch"


class RegistryError(GoldentreeError):
    """A record that cannot be read, or is held by another process."""

    kind = "registry"


class WorktreeError(GoldentreeError):
    """A worktree that is missing, in the way, or holds work."""

    kind = "worktree"


class EnvFileError(GoldentreeError):
    """An env file that cannot be edited without loss."""

    kind = "env-file"


class ServerError(GoldentreeError):
    """PostgreSQL cannot be reached, or refuses the connection."""

    kind = "server"


class DatabaseError(GoldentreeError):
    """A database operation that failed or was refused."""

    kind = "database"


class GoldenMissingError(DatabaseError):
    """The golden template does not exist."""

    kind = "golden-missing"


class OwnershipError(DatabaseError):
    """A database that is not provably ours."""

    kind = "ownership"


class CloneError(DatabaseError):
    """A clone that could not be built or did not verify."""

    kind = "clone"


class ToolchainError(GoldentreeError):
    """Migrate or generate failed, or no tool could be chosen."""

    kind = "toolchain"


class WrongDatabaseError(ToolchainError):
    """A tool used a database that is not the worktree's."""

    kind = "wrong-database"


class MachineError(GoldentreeError):
    """The machine refuses: a full disk, a read-only file system, too many open files."""

    kind = "machine"


class TwilioError(GoldentreeError):
    """Twilio refuses, or its answer is invalid or missing."""

    kind = "twilio"


class LedgerError(GoldentreeError):
    """The ledger cannot be used, or refuses."""

    kind = "ledger"


class NotFoundError(LedgerError):
    """A row of the ledger does not exist."""

    kind = "not-found"


class ConflictError(LedgerError):
    """Another agent was first, or the state of a row forbids it."""

    kind = "conflict"


class CycleError(LedgerError):
    """
    A dependency that would create a cycle.

    Attributes:
        path: The ids along the cycle; the first is repeated at the end.
    """

    kind = "cycle"

    def __init__(self, what: str, *, path: list[str], why: str = "", hint: str = "") -> None:
        self.path = path
        super().__init__(what, why=why, hint=hint)


class NoTargetError(LedgerError):
    """No agent can be asked."""

    kind = "no-target"
    status = 4


class TimedOutError(LedgerError):
    """A wait reached its time limit."""

    kind = "timed-out"
    status = 5


class SchemaTooNewError(LedgerError):
    """The ledger was written by a newer version of this tool."""

    kind = "schema-too-new"


class Interrupted(GoldentreeError):  # noqa: N818 - it is named for what happened, like KeyboardInterrupt
    """Ctrl-C or SIGTERM, after the rollback."""

    kind = "interrupted"


_CURES = {
    errno.ENOSPC: "free space on that disk, then run the same command:\ndf -h {folder}",
    errno.EDQUOT: "free space within your quota, then run the same command:\ndu -sh {folder}",
    errno.EROFS: "mount that file system for writing, then run the same command:\nfindmnt --target {folder}",
    errno.EACCES: "let this account read and write there, then run the same command:\nls -ld {folder}",
    errno.EPERM: "let this account read and write there, then run the same command:\nls -ld {folder}",
    errno.ENOTDIR: "correct the path, or what names it, then run the same command:\nls -ld {folder}",
    errno.EMFILE: "let processes open more files, then run the same command:\nulimit -n 1024",
    errno.ENFILE: "end programs that keep many files open, then run the same command",
    errno.EFBIG: "let processes write larger files, then run the same command:\nulimit -f unlimited",
    errno.EAGAIN: "end some of your processes, then run the same command",
    errno.ENOMEM: "end some of your processes, then run the same command",
    errno.EIO: "the disk may be failing: look at the messages of the kernel, then run the same command",
    errno.ESTALE: "mount that file system again, then run the same command",
}


_GONE = "another process may have deleted it a moment ago; if so, run the same command again"


def find_cure(said: str, folder: Path) -> str:
    """Return the hint for what the machine refused another program in *folder*, as that *said*; empty if it did not."""
    found = (cure for number, cure in _CURES.items() if os.strerror(number) in said)
    return next(found, "").format(folder=shlex.quote(str(folder)))


def explain_os_error(error: OSError | MemoryError) -> MachineError | None:
    """
    Return the error to print for *error* if the machine is its cause, None if it may be a bug of ours.

    The notes of *error* become its reason: they say what could not be undone.
    """
    if isinstance(error, MemoryError):
        number, reason = errno.ENOMEM, "no memory is left"
    else:
        number, reason = error.errno or 0, error.strerror or str(error)
    why = "\n".join(getattr(error, "__notes__", []))
    if number == errno.ENOENT and error.filename is None:  # type: ignore[union-attr]  # tempfile.gettempdir raises it
        return MachineError(reason, why=why, hint="set TMPDIR to a directory that this account can write")
    name = getattr(error, "filename", None)
    path = Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) and name else None
    if number == errno.ENOENT and path and path.is_absolute():
        return MachineError(f"`{path}` no longer exists", why=why, hint=_GONE)
    if number not in _CURES:
        return None
    folder = shlex.quote(str(path.parent if path else "."))
    what = f"`{path}`: {reason}" if path else reason[:1].lower() + reason[1:]
    return MachineError(what, why=why, hint=_CURES[number].format(folder=folder))


@contextmanager
def machine_errors() -> Iterator[None]:
    """
    Raise what the machine refuses in the body as an expected failure.

    Raises:
        MachineError: If a disk is full or read-only, a file may not be used, or too many files are open.
    """
    try:
        yield
    except (OSError, MemoryError) as error:
        if (explained := explain_os_error(error)) is None:
            raise
        raise explained from error
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        raise MachineError("no more threads can be started", hint=_CURES[errno.EAGAIN]) from error
