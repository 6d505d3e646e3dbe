"""
Everything that is checked, and how to see it work. `nox` alone runs what is marked with a star.

A machine needs Python >= 3.11, git and pip; each session installs the rest into an environment of its own.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import nox

if TYPE_CHECKING:
    from collections.abc import Sequence

nox.needs_version = ">=2025.2.9"
# Nox prefers uv where it finds one; but uv does not read pip.conf, so a machine behind a mirror would install nothing.
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "no" if os.environ.get("CI") else "yes"

PYPROJECT = nox.project.load_toml("pyproject.toml")
EDITABLE = "-e.[embedded,loquent]"
EXAMPLE = Path(__file__).parent / "examples" / "create_worktree.py"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
PATIENCE = 30.0
"""Seconds after Ctrl-C for children to stop their servers and delete their directories; nox gives 0.3."""


IMPORT_EVERYTHING = """
import importlib, pkgutil, tasks_lib
for module in pkgutil.walk_packages(tasks_lib.__path__, "tasks_lib."):
    if not {"migrations", "application", "__main__"} & set(module.name.split(".")):
        importlib.import_module(module.name)
"""
WRITE_BYTECODE = {"PYTHONDONTWRITEBYTECODE": None}
"""Tests start a thousand Pythons, each of which would compile the package again."""


def oldest_and_newest_python() -> list[str] | None:
    """Return the oldest and the newest supported Python on this machine; None means the one that runs nox."""
    found = []
    for version in nox.project.python_versions(PYPROJECT):
        with suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([f"python{version}", "-c", ""], check=True, stderr=subprocess.DEVNULL)
            found.append(version)
    return list(dict.fromkeys([found[0], found[-1]])) if found else None


def pytest(session: nox.Session, *arguments: str, runner: Sequence[str] = ("pytest",)) -> None:
    """Run the tests but those that compile Rust, two at a time."""
    session.run(
        *(*runner, "-n2", "--dist=worksteal", "-m", "not seaorm", *arguments),
        env=WRITE_BYTECODE,
        interrupt_timeout=PATIENCE,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and the import contracts."""
    session.install("-e.", *group("lint"))  # dev/reference.py imports the commands
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")
    session.run("python", "dev/plain_english.py")
    session.run("python", "dev/reference.py", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy, and the example of the Python API as a user's file."""
    session.install("-e.[loquent]", *group("types"))
    session.run("mypy", *session.posargs)
    with session.chdir(session.create_tmp()):  # where only the installed package is found, as in a user's project
        session.run("mypy", "--strict", "--config-file=", str(EXAMPLE))


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; extra arguments go to pytest."""
    session.install(EDITABLE, *group("tests"))
    pytest(session, *session.posargs)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Report which lines and branches the tests run, child processes included; details go to build/coverage."""
    session.install(EDITABLE, *group("coverage"))
    session.run("coverage", "erase")
    try:
        pytest(session, *session.posargs, runner=("coverage", "run", "-m", "pytest"))
    finally:
        session.run("coverage", "combine", "--quiet")
        session.run("coverage", "html", "--quiet")
        session.run("coverage", "xml", "-q")
        session.run("coverage", "report")


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Break one line of a safety check at a time; a mutant that no test notices fails. `-- WORD` chooses some."""
    session.install(EDITABLE, *group("tests"))
    session.run("python", "dev/mutants.py", *session.posargs, env=WRITE_BYTECODE, interrupt_timeout=PATIENCE)


@nox.session(default=False)
def postgres(session: nox.Session) -> None:
    """Run the tests of databases on the PostgreSQL that GOLDENTREE_TEST_MAJOR names: `15`, or its bin directory."""
    if not os.environ.get("GOLDENTREE_TEST_MAJOR"):
        session.error("set GOLDENTREE_TEST_MAJOR, for instance to 15 or to /usr/lib/postgresql/15/bin")
    session.install(EDITABLE, *group("tests"))
    pytest(session, *(session.posargs or ["tests/databases"]), "--only-major")


@nox.session(reuse_venv=False)
def smoke(session: nox.Session) -> None:
    """Run the main job from end to end on the built wheel, outside the checkout."""
    with tempfile.TemporaryDirectory() as elsewhere:
        session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={elsewhere}", ".")
        (wheel,) = Path(elsewhere).glob("*.whl")
        session.install(f"{wheel}[embedded,loquent]", *group("demo"))
        with session.chdir(elsewhere):
            session.run("python", "-m", "tasks_lib.demo.smoke", env=WRITE_BYTECODE, interrupt_timeout=PATIENCE)


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Show the whole story on a throwaway repository; `-- --keep` leaves it there to go on by hand."""
    session.install(EDITABLE, *group("demo"))
    session.run("python", "-m", "tasks_lib.demo", *session.posargs, interrupt_timeout=PATIENCE)


@nox.session(default=False)
def actionlint(session: nox.Session) -> None:
    """Check the workflows in .github. Downloads Go, 75 MB, as no wheel has actionlint."""
    session.install(*group("actionlint"))
    caches = Path(session.create_tmp()).resolve()
    env = {
        "GOCACHE": str(caches / "build"),
        "GOPATH": str(caches / "go"),
        "GOFLAGS": "-modcacherw",  # so that `.nox` can be deleted
        "GOTOOLCHAIN": "local",
    }
    session.run("go", "run", ACTIONLINT, *session.posargs, env=env)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into build/site; a warning, such as a link that leads nowhere, is an error."""
    session.install("-e.", *group("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-c", "docs", ".", "build/site", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure clones beside the seed's pipeline and its rivals, into docs/bench; `-- --quick` writes nothing."""
    session.install(EDITABLE, *group("bench"))
    session.run("python", "-m", "bench.run", *session.posargs, interrupt_timeout=PATIENCE)


@nox.session(default=False)
def stress(session: nox.Session) -> None:
    """Create and remove worktrees for a minute, by eight processes that are killed at random."""
    session.install(EDITABLE, *group("tests"))
    session.run("pytest", "tests/test_stress.py", "--stress=60", "-s", *session.posargs, interrupt_timeout=PATIENCE)


@nox.session(default=False)
def storm(session: nox.Session) -> None:
    """Use goldentree at random while it is killed and disks fill up; `-- --seconds 30 --seed 7` changes the run."""
    session.install("-e.[embedded]")
    session.run("python", "-m", "dev.storm", *session.posargs, interrupt_timeout=PATIENCE)


@nox.session(default=False)
def seaorm(session: nox.Session) -> None:
    """Run the tests that compile a migration crate: minutes, and cargo."""
    session.install(EDITABLE, *group("tests"))
    session.run("pytest", "-m", "seaorm", *session.posargs, interrupt_timeout=PATIENCE)


@nox.session(default=False, python=oldest_and_newest_python())
def minimums(session: nox.Session) -> None:
    """Run the tests with the oldest version of every dependency that pyproject.toml allows."""
    session.install("uv")  # pip cannot resolve downwards
    session.run("uv", "pip", "install", "--resolution=lowest-direct", "--compile-bytecode", EDITABLE, *group("tests"))
    session.run("python", "-W", "error", "-c", IMPORT_EVERYTHING)
    pytest(session, *session.posargs)


def group(name: str) -> tuple[str, ...]:
    """Return the requirements of the dependency group *name*."""
    return tuple(nox.project.dependency_groups(PYPROJECT, name))


if __name__ == "__main__":
    nox.main()
