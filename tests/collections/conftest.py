"""What tasks in the tests' own process need not do for real."""

from __future__ import annotations

import subprocess
from functools import partial

import argon2
import pytest


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch):
    """Hash passwords in 1 ms, not in the 300 ms of CPU that make them hard to guess: a hash names its own cost."""
    monkeypatch.setattr(
        argon2, "PasswordHasher", partial(argon2.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    )


@pytest.fixture
def path(tmp_path):
    """Give a repository without a database."""
    path = tmp_path / "app"
    path.mkdir()
    (path / "tasks.py").write_text("from tasks_lib import ns\n")
    subprocess.run(["git", "init", "--quiet"], cwd=path, check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message", "Start"], cwd=path, check=True)
    return path
