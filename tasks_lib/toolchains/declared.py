"""A migration tool that has no preset: the setting `db.history` says how it records what it has applied."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tasks_lib.toolchains.base import Command, MigrationHistory, Toolchain, quote_identifier

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.settings import HistoryTable


@dataclass(frozen=True)
class Declared(Toolchain):
    """
    The tool that a command of the user's own runs.

    Attributes:
        declared: The setting.
        command: The command that migrates.
    """

    name: ClassVar[str] = "db.history"

    declared: HistoryTable
    command: str

    @classmethod
    def detect(cls, folder: Path) -> bool:  # noqa: ARG003 - as in the base class
        """Detect nothing: only a setting declares such a tool."""
        return False

    @property
    def history(self) -> MigrationHistory:
        """Read the column that the setting names."""
        table = quote_identifier(*self.declared.table.split("."))
        return MigrationHistory(table, (self.declared.key,))

    def migrations(self) -> dict[str, str]:
        """List the files whose names the setting's pattern matches, by name."""
        files = sorted(path for path in self.folder.glob(self.declared.files) if path.is_file())
        found = ((re.search(self.declared.pattern, path.name), path) for path in files)
        return {match[1]: path.name for match, path in found if match}

    def migrate(self) -> Command:
        """Run the user's command."""
        return Command(("sh", "-c", self.command), self.folder)

    def generate(self, to: Path | None) -> None:
        """Generate nothing: that has a setting of its own."""
