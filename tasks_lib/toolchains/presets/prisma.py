"""Prisma: `prisma migrate deploy` and the client that `prisma generate` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.toolchains.base import Command, MigrationHistory, Toolchain
from tasks_lib.toolchains.sources import hash_file

if TYPE_CHECKING:
    from pathlib import Path


class Prisma(Toolchain):
    """`prisma/schema.prisma`, or a schema split into the files of `prisma/schema/`."""

    name = "prisma"
    files = ("prisma/schema.prisma", "prisma/schema/*.prisma")

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for a Prisma schema."""
        return (folder / "prisma" / "schema.prisma").is_file() or any(folder.glob("prisma/schema/*.prisma"))

    @property
    def history(self) -> MigrationHistory:
        """Ignore migrations that failed or were rolled back; their rows stay in the table."""
        columns = ("migration_name", "finished_at", "rolled_back_at")
        return MigrationHistory("_prisma_migrations", columns, _find_key, "checksum")

    def migrations(self) -> dict[str, str]:
        """List the folders that contain a `migration.sql`."""
        names = sorted(path.parent.name for path in self.folder.glob("prisma/migrations/*/migration.sql"))
        return dict(zip(names, names, strict=True))

    def read_checksums(self) -> dict[str, str]:
        """Prisma warns of a migration that was edited after it was applied."""
        folder = self.folder / "prisma" / "migrations"
        return {name: hash_file(folder / name / "migration.sql", "sha256") for name in self.migrations()}

    def migrate(self) -> Command:
        """Use `deploy`, which unlike `migrate dev` never resets a database."""
        return self._prisma("migrate", "deploy")

    def generate(self, to: Path | None) -> Command:  # noqa: ARG002 - see below
        """Generate the client, to the path that the schema names."""
        return self._prisma("generate")

    def _prisma(self, *arguments: str) -> Command:
        return Command(("prisma", *arguments), self.folder, install="npm install --save-dev prisma")


def _find_key(name: str, finished_at: str | None, rolled_back_at: str | None) -> str | None:
    return name if finished_at and not rolled_back_at else None
