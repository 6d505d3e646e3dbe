"""The guard: what works on a worktree's database first proves whose database it is, on the server that it will use."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tasks_lib.databases.ownership import comment
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import SettingsError
from tasks_lib.worktrees.env.guard import require_no_conflicting_export, require_own_database

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


def test_ownership_is_proven_on_the_server_of_the_url(project, tmp_path, monkeypatch):
    """The configured server may have a database of the same name that is this worktree's."""
    record = SimpleNamespace(identity=SimpleNamespace(database="app"), slug="a")
    asked = []

    @contextmanager
    def connect(server, *_):
        yield server.url.parameters["port"]

    monkeypatch.setattr(Server, "connect", connect)
    monkeypatch.setattr(comment, "require_ours", lambda *arguments: asked.append(arguments))
    project.server = Server(DatabaseUrl.parse(WRITTEN))
    other = {"DATABASE_URL": WRITTEN.replace("5432", "6543")}
    url = require_own_database(project, record, tmp_path, other)
    assert asked == [("6543", "app", "owner of a", "clone")]
    assert url.parameters["port"] == "6543"
