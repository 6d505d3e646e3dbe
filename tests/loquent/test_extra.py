"""goldentree without the extra `loquent`: two tasks name it, everything else works."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tasks_lib.errors import ToolchainError
from tasks_lib.loquent.golden_build import EXTRA_MODULES, GoldenBuild
from tasks_lib.workflows import golden_build

# Python runs `sitecustomize` at its start, in every child as well.
HIDE = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        hidden = fullname.partition(".")[0] in {EXTRA_MODULES}
        return None if hidden else super().find_spec(fullname, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


@pytest.fixture
def run(repository, tmp_path, monkeypatch):
    """Return a function that runs `inv` in a process that cannot import what the extra installs."""
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # A cache of that file beside the repository would count as a change.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def run(*arguments):
        command = [sys.executable, "-m", "invoke", *arguments]
        return subprocess.run(command, cwd=repository.path, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("task", [["golden.build"], ["-R", "golden.build"], ["golden.verify"]])
def test_tasks_name_the_missing_extra(run, repository, task):
    """Each says which modules are missing and how to install them, and leaves everything as it was."""
    before = repository.world()
    ran = run(*task)
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: the extra `loquent` is not installed; missing: requests, urllib3, argon2\n")
    assert ran.stderr.endswith('\nhint: python3 -m pip install "goldentree[loquent]"\n')
    assert json.loads(run(*task, "--json").stdout)["error"]["code"] == "toolchain"
    assert repository.world() == before


@pytest.mark.parametrize("task", ["--list", "doctor", "golden.status", "worktree.list", "ledger.status"])
def test_other_tasks_need_no_extra(run, task):
    """They work in the same process that cannot build a golden template."""
    ran = run(task)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_demo_needs_the_extra(run):
    """It stops before it makes anything, because its application's golden template is built by golden.build."""
    ran = run("demo")
    assert ran.returncode == 1
    assert "the demo needs requests, urllib3, argon2" in ran.stderr
    assert 'pip install "goldentree[embedded,loquent]" alembic sqlacodegen' in ran.stderr


def test_entry_point_names_the_builder():
    """The installed package registers the class that `golden.build` runs."""
    assert golden_build.load_builder() is GoldenBuild


def test_missing_entry_point_is_an_error(monkeypatch):
    """If the package has no metadata, the error has the command that installs it."""
    monkeypatch.setattr(golden_build, "GROUP", "goldentree.nothing")
    with pytest.raises(ToolchainError, match="the entry point `loquent` of") as caught:
        golden_build.load_builder()
    assert caught.value.hint == 'python3 -m pip install "goldentree[loquent]"'


def test_core_does_not_depend_on_the_extra():
    """pyproject.toml lists what the extra installs in the extra alone."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    distributions = ("requests", "urllib3", "argon2-cffi")
    assert [name.partition(">")[0] for name in project["optional-dependencies"]["loquent"]] == list(distributions)
    assert not [name for name in project["dependencies"] if name.startswith(distributions)]
