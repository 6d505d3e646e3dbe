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

    Exit status is 1: Invoke fixes usage errors at 1, so no other number could be relied on.
    """

    kind = "error"
    """Stable kebab-case name of the failure; `error.code` in JSON documents."""

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        self.what = what
        self.why = why
        self.hint = hint
        lines = [f"error: {what}"]
        lines += [f"  {line}" for line in why.splitlines()]
        if hint:
            first, *rest = hint.splitlines()
            lines += [f"hint: {first}", *(f"      {line}" for line in rest)]
        super().__init__(message="\n".join(lines), code=1)

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


class Interrupted(GoldentreeError):  # noqa: N818 - it is named for what happened, like KeyboardInterrupt
    """Ctrl-C or SIGTERM, after everything was rolled back."""

    kind = "interrupted"
