"""
The base class of migration tools. A toolchain migrates a database, and may generate code from it.

A toolchain reads files and returns commands. It runs nothing and connects to nothing, so comparing a branch with a
database never executes that branch's code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Command:
    """
    A child process to run.

    Attributes:
        argv: Program and arguments. No secrets: every user of the machine can list them.
        cwd: The directory in which it runs.
        install: The command that installs the program; part of the error if it is missing.
        env: Variables that it needs in addition to those of every command.
        output: The file to which its stdout is written; replaced only if the command succeeds.
        mark: The first line of *output*.
        remark: A note for the error if it fails.
    """

    argv: tuple[str, ...]
    cwd: Path
    install: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    output: Path | None = None
    mark: str = ""
    remark: str = ""


def _key_of_one_column(value: str | None) -> str | None:
    return value


class MigrationHistory(NamedTuple):
    """
    The table in which a tool records the migrations that it has applied.

    Attributes:
        table: Its name in SQL; without a schema if the tool relies on the search path, as most do.
        columns: The columns that identify a migration and say whether it is applied.
        find_key: Takes their values as PostgreSQL prints them, None for NULL; returns the key of the row's migration,
            or None if that is not applied. Not SQL: the table's owner could make an operator or a cast that runs.
        checksum: The column of the checksum of a migration's file; empty if the tool records none.
    """

    table: str
    columns: tuple[str, ...]
    find_key: Callable[..., str | None] = _key_of_one_column
    checksum: str = ""


def quote_identifier(*names: str) -> str:
    """Return *names*, which come from a project's files, as one SQL identifier."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


@dataclass(frozen=True)
class Drift:
    """
    The difference between a branch's migrations and a database's migration history.

    Attributes:
        applied: The branch's migrations that the database has, in the branch's order.
        pending: Those that the migrate command would apply.
        missing: The keys of migrations that the database has and the branch lacks.
    """

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Toolchain(ABC):
    """
    One tool in one folder of a repository.

    Attributes:
        folder: Contains the tool's configuration; its commands run here.
    """

    name: ClassVar[str]
    """The preset's name; a value of `WORKTREE_MIGRATE`."""

    files: ClassVar[tuple[str, ...]] = ()
    """Patterns of paths in the tool's folder; every project of the tool has a file that matches one of them."""

    unapplied: ClassVar[str] = "the database would lack what the branch's code expects"
    """Explanation shown if the tool exits with 0 but leaves migrations pending."""

    folder: Path

    @classmethod
    @abstractmethod
    def detect(cls, folder: Path) -> bool:
        """Return whether the files in *folder* show that the tool is used there."""

    @property
    @abstractmethod
    def history(self) -> MigrationHistory:
        """The table in which the tool records what it has applied."""

    @abstractmethod
    def migrations(self) -> dict[str, str]:
        """
        Return the branch's migrations in order: key in the migration history, and name for people.

        Raises:
            ToolchainError: If a file cannot be read, such as one with conflict markers.
        """

    @abstractmethod
    def migrate(self) -> Command:
        """Return the command that applies pending migrations."""

    @abstractmethod
    def generate(self, to: Path | None) -> Command | None:
        """
        Return the command that generates code from the database; None if the project does not use one.

        Args:
            to: Absolute path for the generated code; None for the tool's default.

        Raises:
            ToolchainError: If it would overwrite a file that was not generated.
        """

    def drift(self, recorded: Iterable[str]) -> Drift:
        """Compare the branch's migrations with the keys *recorded* in the migration history."""
        recorded = set(recorded)
        known = self.migrations()
        return Drift(
            applied=tuple(name for key, name in known.items() if key in recorded),
            pending=tuple(name for key, name in known.items() if key not in recorded),
            missing=tuple(sorted(recorded - known.keys())),
        )

    def read_checksums(self) -> dict[str, str]:
        """Return the checksums of the branch's migrations by key, as PostgreSQL prints those that the tool records."""
        return {}

    def find_other_work(self, recorded: Collection[str], path: str) -> str:  # noqa: ARG002 - for presets
        """
        Return what `migrate` may do beside applying `migrations`; empty if it provably does nothing else.

        Args:
            recorded: The keys in the migration history.
            path: The PATH that the command gets.

        Raises:
            ToolchainError: If a file cannot be read.
        """
        return ""

    def find_reason_to_migrate(self, recorded: Mapping[str, str | None], path: str) -> str:
        """
        Return why `migrate` may change a database; empty if it provably does not, so that it need not run.

        Args:
            recorded: The recorded checksum of each migration in the database's history, by key.
            path: The PATH that the command gets.

        Raises:
            ToolchainError: If a file cannot be read.
        """
        drift = self.drift(recorded)
        if drift.pending:
            return f"{len(drift.pending)} pending"
        if drift.missing:
            return f"the branch lacks {', '.join(drift.missing)}"
        if not drift.applied:
            return "no migrations were found"
        names, checksums = self.migrations(), self.read_checksums()
        edited = [names[key] for key, found in checksums.items() if recorded.get(key) not in (None, found)]
        return f"edited: {', '.join(edited)}" if edited else self.find_other_work(recorded, path)
