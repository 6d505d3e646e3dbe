"""The demo's application."""

from __future__ import annotations

import shutil

import pytest

from tasks_lib.demo import repository
from tasks_lib.errors import GitError, ToolchainError


def test_missing_tools_are_an_error(tmp_path):
    """The error names the missing tool and how to install it."""
    with pytest.raises(GitError, match="git is not installed"):
        repository.require_tools(str(tmp_path))
    (tmp_path / "git").symlink_to(shutil.which("git"))
    with pytest.raises(ToolchainError, match="pip install alembic sqlacodegen"):
        repository.require_tools(str(tmp_path))
