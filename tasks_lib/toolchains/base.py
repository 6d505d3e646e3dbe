"""
What a toolchain is: one tool that migrates a database, and may generate code from it.

An adapter reads files and names commands. It runs nothing and connects to nothing, so that
examining a branch never executes that branch's code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Command:
    """
    A child process to run.

    Attributes:
        argv: Program and arguments. Never a secret among them: any user of the machine can list them.
        cwd: Where it runs.
        install: The command that installs the program, for whoever lacks it.
        env: Variables that it needs beside those of every child.
        output: The file that its stdout becomes, replaced only when it succeeds.
        mark: The first line of *output*.
        remark: What to know when it fails.
    """

    argv: tuple[str, ...]
    cwd: Path
    install: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    output: Path | None = None
    mark: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Ledger:
    """
    The table in which a tool records what it has applied.

    Attributes:
        table: As `to_regclass` reads it. Without a schema where the tool leaves that to the search path, as most do.
        key: The SQL expression, of type text, for a recorded migration.
        condition: What a row must satisfy to count as applied.
    """

    table: str
    key: str
    condition: str = "true"

    @property
    def query(self) -> str:
        """Select the recorded keys: one text column."""
        return f"SELECT {self.key} FROM {self.table} WHERE {self.condition}"  # noqa: S608 - names, quoted by adapters


def quoted(*names: str) -> str:
    """Return *names*, which come out of a project's files, as one SQL identifier."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


@dataclass(frozen=True)
class Drift:
    """
    How a database stands to a branch.

    Attributes:
        applied: The branch's migrations that the database has, in the branch's order.
        pending: Those that migrating would apply.
        missing: What the database has and the branch lacks, by the ledger's keys.
    """

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Toolchain(ABC):
    """
    One tool in one folder of a repository.

    Attributes:
        folder: Where the tool's configuration lies, and where its commands run.
    """

    name: ClassVar[str]
    """The preset's name, as `WORKTREE_MIGRATE` takes it."""

    unapplied: ClassVar[str] = "the database would lack what the branch's code expects"
    """Why that matters, and what may be behind it, where the tool ends well and has not applied everything."""

    folder: Path

    @classmethod
    @abstractmethod
    def detect(cls, folder: Path) -> bool:
        """Tell from *folder*'s files whether the tool is used there."""

    @property
    @abstractmethod
    def ledger(self) -> Ledger:
        """Where the tool records what it has applied."""

    @abstractmethod
    def migrations(self) -> dict[str, str]:
        """
        Return the branch's migrations in order: the key in the ledger, and the name that people know.

        Raises:
            ToolchainError: If a file cannot be read, such as one with conflict markers.
        """

    @abstractmethod
    def migrate(self) -> Command:
        """Return the command that applies what is pending."""

    @abstractmethod
    def generate(self, to: Path | None) -> Command | None:
        """
        Return the command that derives code from the database, or None where the project has no use for it.

        Args:
            to: Absolute path for the generated code, None for the tool's default.

        Raises:
            ToolchainError: If that would overwrite what somebody wrote.
        """

    def drift(self, recorded: Iterable[str]) -> Drift:
        """Compare the branch's migrations with the keys *recorded* in the ledger."""
        recorded = set(recorded)
        known = self.migrations()
        return Drift(
            applied=tuple(name for key, name in known.items() if key in recorded),
            pending=tuple(name for key, name in known.items() if key not in recorded),
            missing=tuple(sorted(recorded - known.keys())),
        )
