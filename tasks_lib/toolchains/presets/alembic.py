"""
Alembic, with sqlacodegen where the project uses it.

Its ledger holds the heads alone (https://alembic.sqlalchemy.org/en/latest/branches.html); what is
applied follows from the graph of revisions.
"""

from __future__ import annotations

import ast
import os
import re
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import ToolchainError
from tasks_lib.toolchains.base import Command, Drift, Ledger, Toolchain, quoted
from tasks_lib.toolchains.presets import sqlacodegen
from tasks_lib.toolchains.revisions import Revision, ancestors, in_order, read_revisions
from tasks_lib.toolchains.sources import read_python, read_text, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SEPARATORS = {"os": os.pathsep, "newline": "\n", ":": ":", ";": ";"}
"""Values of `path_separator`; without it, lists are split at blanks and commas."""


class Alembic(Toolchain):
    """`alembic.ini` or `[tool.alembic]` in `pyproject.toml`."""

    name = "alembic"

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for Alembic's configuration."""
        return bool(_options(folder))

    @property
    def ledger(self) -> Ledger:
        """Take the table's name from `env.py`, where a project may change it."""
        arguments = {
            node.arg: node.value.value
            for node in ast.walk(read_python(self._scripts / "env.py"))
            if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant)
        }
        names = arguments.get("version_table_schema"), arguments.get("version_table", "alembic_version")
        return Ledger(quoted(*(str(name) for name in names if name)), "version_num")

    def migrations(self) -> dict[str, str]:
        """Order the version files from the base to the heads."""
        revisions = self._revisions()
        return {key: revisions[key].name for key in in_order(revisions)}

    def drift(self, recorded: Iterable[str]) -> Drift:
        """
        Compare as every toolchain does, with the *recorded* heads and their ancestors as applied.

        While the database is at a head that the branch lacks, nothing is pending: what came before
        that head cannot be known, and Alembic refuses to migrate.
        """
        found = super().drift(ancestors(self._revisions(), recorded))
        return replace(found, pending=()) if found.missing else found

    def migrate(self) -> Command:
        """Go to all heads: a branch that awaits its merge revision has two."""
        # The worktree's own modules first: the main worktree's may be installed editable where `alembic` is.
        path = os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")]))
        install = "python3 -m pip install alembic"
        return Command(("alembic", "upgrade", "heads"), self.folder, install=install, env={"PYTHONPATH": path})

    def generate(self, to: Path | None) -> Command | None:
        """Run sqlacodegen where the project wants it, by default into a file beside Alembic's own folder."""
        return sqlacodegen.command(self.folder, to, default=self._scripts.parent / "models_generated.py")

    @property
    def _scripts(self) -> Path:
        return self._path(_options(self.folder).get("script_location", "alembic"))

    def _path(self, location: str) -> Path:
        # `package:folder` is a folder inside a Python package.
        package, colon, inside = location.replace("%(here)s", ".").partition(":")
        return self.folder / (f"{package.replace('.', '/')}/{inside}" if colon else package)

    def _revisions(self) -> dict[str, Revision]:
        options = _options(self.folder)
        locations = options.get("version_locations") or [f"{options.get('script_location', 'alembic')}/versions"]
        if isinstance(locations, str):
            separator = options.get("path_separator") or options.get("version_path_separator")
            locations = re.split(SEPARATORS.get(str(separator), r"[\s,]+"), locations)
        pattern = "**/*.py" if options.get("recursive_version_locations") in ("true", True) else "*.py"
        folders = [self._path(location.strip()) for location in locations if location.strip()]
        return read_revisions(path for folder in folders for path in sorted(folder.glob(pattern)))


def _options(folder: Path) -> dict[str, Any]:
    """Return Alembic's options in *folder*; those of `alembic.ini` win, as in Alembic itself."""
    parser = ConfigParser(interpolation=None)
    path = folder / "alembic.ini"
    try:
        parser.read_string(read_text(path))
    except ConfigError as error:
        raise ToolchainError(f"`{path}` cannot be read", why=str(error)) from None
    project = read_toml(folder / "pyproject.toml").get("tool", {}).get("alembic", {})
    return {**project, **(parser["alembic"] if parser.has_section("alembic") else {})}
