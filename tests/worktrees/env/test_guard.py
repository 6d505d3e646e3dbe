"""The guard: what works on a worktree's database first proves whose database it is, on the server that it will use."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from tasks_lib.errors import SettingsError
from tasks_lib.worktrees.env.guard import require_no_conflicting_export

WRITTEN = "postgres://user@localhost:5432/app"


@pytest.fixture
def project(tmp_path):
    """Return a main worktree whose `.env` names a database."""
    (tmp_path / ".env").write_text(f"DATABASE_URL={WRITTEN}\n")
    return SimpleNamespace(
        repository=SimpleNamespace(main=tmp_path),
        settings=SimpleNamespace(style_files=(".env",)),
        owner=lambda slug: f"owner of {slug}",
        env_name=".env",
    )


@pytest.mark.parametrize("exported", [WRITTEN.replace("5432", "6543"), WRITTEN.replace("localhost", "elsewhere")])
def test_same_database_name_on_another_server_conflicts(project, exported):
    """An exported URL wins over env files, so host and port are compared as well as the name."""
    with pytest.raises(SettingsError, match="DATABASE_URL is exported in this shell as"):
        require_no_conflicting_export(project, {"DATABASE_URL": exported})


def test_exporting_the_same_url_is_no_conflict(project):
    """Some shells load the main worktree's `.env`."""
    require_no_conflicting_export(project, {"DATABASE_URL": WRITTEN})


def test_ownership_is_proven_on_the_server_of_the_url(repository):
    """The configured server may have a database of the same name that is this worktree's."""
    there, ran = repository.worktree("a"), {"WORKTREE_MIGRATE": "touch ran"}
    repository.json("worktree.create", "a")
    elsewhere = re.sub(r":\d+/", ":1/", repository.env("a")["DATABASE_URL"])

    said = repository.refuses("db.migrate", cwd=there, env={**ran, "DATABASE_URL": elsewhere})

    assert "127.0.0.1:1" in said
    assert not (there / "ran").exists()
