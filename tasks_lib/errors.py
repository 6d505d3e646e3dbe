"""
Every failure that a user can meet and cure.

.. code-block:: text

    GoldentreeError              base; an Invoke `Exit`, so `inv` prints it and exits with 1
    ├── SettingsError            a setting that is unknown, malformed or contradicts another
    ├── GitError                 git refused, or the repository is not one we can work in
    │   └── BranchError          a branch name or state that makes a worktree impossible
    ├── RegistryError            a record that cannot be read, or is held by another process
    ├── WorktreeError            a worktree that is missing, in the way, or holds work
    ├── EnvFileError             an env file that cannot be edited without loss
    ├── ServerError              no PostgreSQL server to talk to, or it refuses us
    ├── DatabaseError            a database operation that failed or was refused
    │   ├── GoldenMissingError   there is no golden template
    │   ├── OwnershipError       a database that we cannot prove is ours
    │   └── CloneError           a clone that could not be built or did not verify
    ├── ToolchainError           migrate or generate failed, or no tool could be chosen
    ├── TwilioError              Twilio refuses, answers nonsense or not at all
    ├── LedgerError              the ledger cannot be used, or refuses
    │   ├── NotFoundError        it has no such row
    │   ├── ConflictError        somebody was first, or the state of a row forbids it
    │   ├── CycleError           a dependency that would close a circle
    │   ├── NoTargetError        nobody is there to be asked; exit status 4
    │   ├── TimedOutError        what was waited for did not come in time; exit status 5
    │   └── SchemaTooNewError    a newer version of this tool has written it
    └── Interrupted              Ctrl-C or SIGTERM, after everything was rolled back

Anything else that escapes is a bug and shows its traceback.
"""

from __future__ import annotations

# The one import of Invoke outside `collections`: `Program.run` prints only its own exceptions
# without a traceback (invoke/program.py, `except (UnexpectedExit, Exit, ParseError)`).
from invoke.exceptions import Exit


class GoldentreeError(Exit):
    """
    An expected failure: what was found, why that stops us, and the command that cures it.

    Args:
        what: What was found; lower case, names in backticks, no full stop.
        why: Why that stops us, where *what* alone does not say it.
        hint: A cure that can be acted on as it stands, best of all a command.

    Exit status is 1: Invoke fixes usage errors at 1. Only waits have others, which no usage error can have.
    """

    kind = "error"
    """Stable kebab-case name of the failure; `error.code` in JSON documents."""

    status = 1
    """Exit status of the command."""

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        self.what = what
        self.why = why
        self.hint = hint
        lines = [f"error: {what}"]
        lines += [f"  {line}" for line in why.splitlines()]
        if hint:
            first, *rest = hint.splitlines()
            lines += [f"hint: {first}", *(f"      {line}" for line in rest)]
        super().__init__(message="\n".join(lines), code=self.status)

    def __str__(self) -> str:
        return str(self.message)


class SettingsError(GoldentreeError):
    """A setting that is unknown, malformed or contradicts another."""

    kind = "settings"


class GitError(GoldentreeError):
    """git refused, or the repository is not one we can work in."""

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
    """No PostgreSQL server to talk to, or it refuses us."""

    kind = "server"


class DatabaseError(GoldentreeError):
    """A database operation that failed or was refused."""

    kind = "database"


class GoldenMissingError(DatabaseError):
    """There is no golden template."""

    kind = "golden-missing"


class OwnershipError(DatabaseError):
    """A database that we cannot prove is ours."""

    kind = "ownership"


class CloneError(DatabaseError):
    """A clone that could not be built or did not verify."""

    kind = "clone"


class ToolchainError(GoldentreeError):
    """Migrate or generate failed, or no tool could be chosen."""

    kind = "toolchain"


class TwilioError(GoldentreeError):
    """Twilio refuses, answers nonsense or not at all."""

    kind = "twilio"


class LedgerError(GoldentreeError):
    """The ledger cannot be used, or refuses."""

    kind = "ledger"


class NotFoundError(LedgerError):
    """The ledger has no such row."""

    kind = "not-found"


class ConflictError(LedgerError):
    """Somebody was first, or the state of a row forbids it."""

    kind = "conflict"


class CycleError(LedgerError):
    """
    A dependency that would close a circle.

    Attributes:
        path: The ids along the circle, the first one again at its end.
    """

    kind = "cycle"

    def __init__(self, what: str, *, path: list[str], why: str = "", hint: str = "") -> None:
        self.path = path
        super().__init__(what, why=why, hint=hint)


class NoTargetError(LedgerError):
    """Nobody is there to be asked."""

    kind = "no-target"
    status = 4


class TimedOutError(LedgerError):
    """What was waited for did not come in time."""

    kind = "timed-out"
    status = 5


class SchemaTooNewError(LedgerError):
    """A newer version of this tool has written the ledger."""

    kind = "schema-too-new"


class Interrupted(GoldentreeError):  # noqa: N818 - it is named for what happened, like KeyboardInterrupt
    """Ctrl-C or SIGTERM, after everything was rolled back."""

    kind = "interrupted"
