"""Django: `manage.py migrate`."""

from __future__ import annotations

import ast
import fnmatch
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.toolchains.base import Command, Drift, MigrationHistory, Toolchain
from tasks_lib.toolchains.sources import read_literals, read_python, read_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

NOT_OURS = {"node_modules", "site-packages", "venv", "env"}
"""Folders of installed packages."""


class Django(Toolchain):
    """A `manage.py` that is Django's."""

    name = "django"
    files = ("manage.py",)

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for Django's `manage.py`."""
        return "django" in read_text(folder / "manage.py")

    @property
    def history(self) -> MigrationHistory:
        """Identify a migration by app and name, because names are unique only within an app."""
        return MigrationHistory("django_migrations", ("app", "name"), "{}.{}".format)

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

    def find_other_work(self, recorded: Collection[str], path: str) -> str:
        """
        Look for migrations of installed packages, and for what Django does after each migrate.

        `INSTALLED_APPS` is code, so a package counts as an app if its migrations are recorded, or if the repository
        names its module.
        """
        sources = "\n".join(read_text(file) for file in self._walk("*.py"))
        for name in ("MIGRATION_MODULES", "post_migrate", "pre_migrate"):
            if name in sources:
                return f"the code uses {name}"
        packages = _find_packages(path)
        if packages is None:
            return "its Python is in no virtual environment"
        if outside := _find_editable(packages):
            return f"{outside} imports packages from elsewhere"
        ours = {key.partition(".")[0] for key, _ in self._files()}
        apps = {key.partition(".")[0] for key in recorded} - ours
        found = set()
        for app in _find_apps(packages):
            label = _label(app)
            module = ".".join(app.relative_to(packages).parts)
            if label not in apps and not re.search(rf"[\"']{re.escape(module)}(\.apps\.\w+)?[\"']", sources):
                continue
            found.add(label)
            if new := [file.stem for file in _migration_files(app) if f"{label}.{file.stem}" not in recorded]:
                return f"`{module}` has {', '.join(new)}"
        unknown = sorted(apps - found)
        return f"the app {unknown[0]} was not found" if unknown else ""

    def migrate(self) -> Command:
        """Run without questions: the ones that Django would ask lead to data loss."""
        argv = ("python3", "manage.py", "migrate", "--noinput")
        return Command(argv, self.folder, install="python3 -m pip install django")

    def generate(self, to: Path | None) -> None:
        """Generate nothing: Django's models are written by hand."""

    def _files(self) -> Iterator[tuple[str, Path]]:
        for app in (path.parent for path in self._walk("migrations")):
            if (app / "migrations" / "__init__.py").is_file():
                label = _label(app)
                yield from ((f"{label}.{path.stem}", path) for path in _migration_files(app))

    def _walk(self, pattern: str) -> Iterator[Path]:
        """Yield the repository's files and folders whose names match *pattern*."""
        for parent, folders, files in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in NOT_OURS)
            yield from (Path(parent, name) for name in fnmatch.filter([*folders, *files], pattern))


def _migration_files(app: Path) -> list[Path]:
    # Django's loader skips names that begin with these.
    return sorted(path for path in (app / "migrations").glob("*.py") if path.name[0] not in "_~")


def _find_packages(path: str) -> Path | None:
    """Return the folder of packages of the virtual environment whose Python is first in *path*; None without one."""
    program = shutil.which("python3", path=path)
    environment = Path(program).parent.parent if program else None
    if environment is None or not (environment / "pyvenv.cfg").is_file():
        return None
    return next(environment.glob("lib/python3*/site-packages"), None)


def _find_editable(packages: Path) -> str:
    """Return the name of a file in *packages* that adds another folder to the packages; empty if none does."""
    for file in sorted(packages.glob("*.pth")):
        lines = [line for line in read_text(file).splitlines() if not line.startswith("#")]
        if "__editable__" in file.name or any(line.strip() and not line.startswith("import ") for line in lines):
            return file.name
    return ""


def _find_apps(packages: Path) -> Iterator[Path]:
    """Yield the folders below *packages* that have migrations; `django.contrib.auth` is three deep."""
    for depth in ("*", "*/*", "*/*/*"):
        yield from (path.parent.parent for path in packages.glob(f"{depth}/migrations/__init__.py"))


def _label(app: Path) -> str:
    """Return an app's name in the migration history: its folder's, unless its configuration sets another."""
    return str(next(_class_literals(app / "apps.py", "label"), app.name))


def _replaced(migration: Path) -> Iterator[str]:
    return (f"{app}.{name}" for pairs in _class_literals(migration, "replaces") for app, name in pairs)


def _class_literals(path: Path, name: str) -> Iterator[Any]:
    """Yield the values that classes in *path* assign to *name*."""
    classes = (node for node in read_python(path).body if isinstance(node, ast.ClassDef))
    return (values[name] for node in classes if name in (values := read_literals(node.body)))
