"""Django: `manage.py migrate`."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.toolchains.base import Command, Drift, MigrationHistory, Toolchain
from tasks_lib.toolchains.sources import read_literals, read_python, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NOT_OURS = {"node_modules", "site-packages", "venv", "env"}
"""Folders of installed packages."""


class Django(Toolchain):
    """A `manage.py` that is Django's."""

    name = "django"

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for Django's `manage.py`."""
        return "django" in read_text(folder / "manage.py")

    @property
    def history(self) -> MigrationHistory:
        """Identify a migration by app and name, because names are unique only within an app."""
        return MigrationHistory("django_migrations", "app || '.' || name")

    def migrations(self) -> dict[str, str]:
        """List the migrations of every app in the repository, by app."""
        return {key: key for key, _ in self._files()}

    def drift(self, recorded: Iterable[str]) -> Drift:
        """
        Compare only the apps in the repository; the others come from installed packages.

        A migration that a squashed one replaces is not missing: its row stays in the migration history.
        """
        files = dict(self._files())
        apps = {key.partition(".")[0] for key in files}
        replaced = {key for path in files.values() for key in _replaced(path)} - files.keys()
        return super().drift(key for key in recorded if key.partition(".")[0] in apps and key not in replaced)

    def migrate(self) -> Command:
        """Run without questions: the ones that Django would ask lead to data loss."""
        argv = ("python3", "manage.py", "migrate", "--noinput")
        return Command(argv, self.folder, install="python3 -m pip install django")

    def generate(self, to: Path | None) -> None:
        """Generate nothing: Django's models are written by hand."""

    def _files(self) -> Iterator[tuple[str, Path]]:
        for parent, folders, _ in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in NOT_OURS)
            app = Path(parent)
            if (app / "migrations" / "__init__.py").is_file():
                label = _label(app)
                # Django's loader skips names that begin with these.
                files = (path for path in (app / "migrations").glob("*.py") if path.name[0] not in "_~")
                yield from ((f"{label}.{path.stem}", path) for path in sorted(files))


def _label(app: Path) -> str:
    """Return an app's name in the migration history: its folder's, unless its configuration sets another."""
    return str(next(_class_literals(app / "apps.py", "label"), app.name))


def _replaced(migration: Path) -> Iterator[str]:
    return (f"{app}.{name}" for pairs in _class_literals(migration, "replaces") for app, name in pairs)


def _class_literals(path: Path, name: str) -> Iterator[Any]:
    """Yield the values that classes in *path* assign to *name*."""
    classes = (node for node in read_python(path).body if isinstance(node, ast.ClassDef))
    return (values[name] for node in classes if name in (values := read_literals(node.body)))
