"""
Everything that is checked, and how to see it work. `nox` alone runs what is marked with a star.

A machine needs Python >= 3.11, git and pip; each session installs the rest into an environment of its own.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
# Nox prefers uv where it finds one; but uv does not read pip.conf, so a machine behind a mirror would install nothing.
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "no" if os.environ.get("CI") else "yes"

PYPROJECT = nox.project.load_toml("pyproject.toml")
EDITABLE = "-e.[embedded,loquent]"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
PATIENCE = 30.0
"""Seconds after Ctrl-C for children to stop their servers and delete their directories; nox gives 0.3."""


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and the import contracts."""
    session.install("-e.", *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy."""
    session.install(EDITABLE, *group("types"))
    session.run("mypy", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; extra arguments go to pytest."""
    session.install(EDITABLE, *group("tests"))
    session.run("pytest", "-n2", "-m", "not seaorm", *session.posargs, interrupt_timeout=PATIENCE)


@nox.session(reuse_venv=False)
def smoke(session: nox.Session) -> None:
    """Run the main job from end to end on the built wheel, outside the checkout."""
    with tempfile.TemporaryDirectory() as elsewhere:
        session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={elsewhere}", ".")
        (wheel,) = Path(elsewhere).glob("*.whl")
        session.install(f"{wheel}[embedded,loquent]", *group("demo"))
        with session.chdir(elsewhere):
            session.run("python", "-m", "tasks_lib.demo.smoke", interrupt_timeout=PATIENCE)


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
def seaorm(session: nox.Session) -> None:
    """Run the tests that compile a migration crate: minutes, and cargo."""
    session.install(EDITABLE, *group("tests"))
    session.run("pytest", "-m", "seaorm", *session.posargs, interrupt_timeout=PATIENCE)


@nox.session(default=False)
def minimums(session: nox.Session) -> None:
    """Run the tests with the oldest version of every dependency that pyproject.toml allows."""
    session.install("uv")  # pip cannot resolve downwards
    session.run("uv", "pip", "install", "--resolution=lowest-direct", EDITABLE, *group("tests"))
    session.run("pytest", "-n2", "-m", "not seaorm", *session.posargs, interrupt_timeout=PATIENCE)


def group(name: str) -> tuple[str, ...]:
    """Return the requirements of the dependency group *name*."""
    return tuple(nox.project.dependency_groups(PYPROJECT, name))


if __name__ == "__main__":
    nox.main()
