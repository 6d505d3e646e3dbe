"""`config.show`: every setting with its value and origin."""

from __future__ import annotations

import pytest

from tasks_lib.settings import SETTINGS


def test_each_setting_has_its_value_and_origin(repository):
    """Each setting is listed once, with the layer that sets it; the password is masked."""
    team = "db:\n  clone_method: dump\nworktree:\n  copy: [a, b]\n  env: {VITE_PORT: '{port}'}\n"
    (repository.path / "invoke.yaml").write_text(team)
    rows = {row["name"]: row for row in repository.json("config.show", env={"WORKTREE_MIGRATE": "none"})}
    assert len(rows) == len(SETTINGS)
    found = {name: (row["value"], row["origin"]) for name, row in rows.items()}
    assert found["db.clone_method"] == ("dump", "invoke.yaml")
    assert found["worktree.copy"] == (["a", "b"], "invoke.yaml")
    assert found["db.prefix"] == (repository.prefix, ".env")
    assert found["db.migrate"] == ("none", "environment")
    assert found["db.generate"][1] == "default"
    password = repository.url.partition("@")[0].rpartition(":")[2]
    masked = repository.url.replace(password, "***")
    assert found["DATABASE_URL"] == (masked, ".env")
    shown = repository.inv("config.show", env=dict.fromkeys(("PULL_DATABASE_URL", "LEDGER_URL"), repository.url))
    assert shown.stdout.count(masked) == 3
    assert password not in shown.stdout + shown.stderr
    assert "VITE_PORT={port}" in shown.stdout


def test_the_main_worktrees_files_count_everywhere(repository):
    """`invoke.yaml` and `.env` of a linked worktree change nothing."""
    (repository.path / "invoke.yaml").write_text("db:\n  clone_method: dump\n")
    repository.json("worktree.create", "a", "--no-db")
    (repository.worktree("a") / "invoke.yaml").write_text("db:\n  clone_method: template\n  migrate: rm -rf /\n")
    with (repository.worktree("a") / ".env").open("a") as env:
        env.write("WORKTREE_GENERATE=evil\n")
    rows = {row["name"]: row["value"] for row in repository.json("config.show", cwd=repository.worktree("a"))}
    assert rows["db.clone_method"] == "dump"
    assert rows["db.migrate"] == "(detected)"
    assert rows["db.generate"] == "(detected)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("db:\n  tempalte: x\n", "unknown setting `db.tempalte` in invoke.yaml"),
        ("db: dump\n", "section `db` is not a mapping"),
        ("worktree:\n  root: [a]\n", "setting `root` in invoke.yaml is not text"),
        ("db:\n  migrate: 5\n", "setting `migrate` in invoke.yaml is not text"),
    ],
)
def test_wrong_settings_are_an_error(repository, text, said):
    """Misspelt keys and wrong types are errors of every task that reads them."""
    (repository.path / "invoke.yaml").write_text(text)
    for task in (["config.show"], ["worktree.create", "a"], ["worktree.list"]):
        assert said in repository.refuses(*task)


def test_other_sections_of_invoke_yaml_are_ignored(repository):
    """A team may have other Invoke settings."""
    (repository.path / "invoke.yaml").write_text("deploy:\n  host: x\nrun:\n  echo: false\n")
    assert repository.json("config.show")
