"""`init` writes files that its readers accept, and changes none that exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from invoke.vendor import yaml

from tasks_lib import ns
from tasks_lib.errors import GitError
from tasks_lib.scaffold import write
from tasks_lib.scaffold.table import TEMPLATES
from tasks_lib.settings import SETTINGS, Origin, load

FLAGS = {template.flag for template in TEMPLATES if template.flag}


@pytest.fixture
def bare(tmp_path):
    """Give a git repository with one commit and no file at all."""
    path = tmp_path / "app"
    path.mkdir()
    for arguments in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "Start"]):
        subprocess.run(["git", *arguments], cwd=path, check=True)
    return path


def goldentree(cwd, *arguments):
    script = "import sys; sys.argv[0] = 'goldentree'; from tasks_lib.program import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def examine(main, *, flags=(), run=""):
    return {file.name: file for file in write.examine(load(main, {}, {}), flags=flags, run=run)}


def test_a_repository_without_anything(bare):
    """`goldentree init` writes four files, which the binary's hooks name; a second run finds them all."""
    previewed = goldentree(bare, "-R", "init")
    assert previewed.stdout.splitlines() == [
        f"would create {name}" for name in ("tasks.py", "invoke.yaml", ".env.example", "conductor.json")
    ]
    assert [path.name for path in bare.iterdir()] == [".git"]

    created = json.loads(goldentree(bare, "init", "--json").stdout)["data"]
    assert [(file["path"], file["outcome"], file["snippet"]) for file in created] == [
        ("tasks.py", "created", None),
        ("invoke.yaml", "created", None),
        (".env.example", "created", None),
        ("conductor.json", "created", None),
    ]
    assert json.loads((bare / "conductor.json").read_text())["scripts"]["setup"] == "goldentree worktree.setup"

    again = goldentree(bare, "init")
    assert re.findall(r"^(\w+)  ", again.stdout, re.MULTILINE) == ["identical"] * 4
    # Invoke accepts a task file and a configuration that are all comments.
    listed = subprocess.run(
        [sys.executable, "-m", "invoke", "--list"], cwd=bare, capture_output=True, text=True, check=True
    )
    assert "worktree.create" in listed.stdout


def test_existing_files_are_not_overwritten(bare):
    """An existing file keeps its bytes, also one that replaces ours, and the answer shows what to add to it."""
    there = {
        "tasks.py": "from invoke import task\n",
        "invoke.yml": "db:\n",
        ".env.example": "APP=1\n",
        ".conductor/settings.toml": "[scripts]\n",
        "docker-compose.yml": "services: {}\n",
        "mise.toml": "",
        ".claude/settings.json": "{}\n",
        ".git/hooks/post-checkout": "#!/bin/sh\ntrue\n",
    }
    for name, content in there.items():
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        (bare / name).write_text(content)
    (bare / ".config").mkdir()
    (bare / ".config" / "wt.toml").symlink_to("nowhere")

    result = goldentree(bare, "init", *(f"--{flag}" for flag in FLAGS), "--run", 'serve "$PORT"')

    assert result.returncode == 0, result.stderr
    for name, content in there.items():
        assert (bare / name).read_text() == content
        assert f"kept     {name}\n" in result.stdout
    assert "kept     .config/wt.toml" in result.stdout
    assert "from tasks_lib import ns\n" in result.stdout
    assert 'run = "serve \\"$PORT\\""\n' in result.stdout
    assert not (bare / "invoke.yaml").exists()
    assert not (bare / "conductor.json").exists()
    assert not (bare / "compose.yaml").exists()
    assert "created  .claude/hooks/worktree.sh\n" in result.stdout
    assert os.access(bare / ".claude" / "hooks" / "worktree.sh", os.X_OK)


def test_a_file_that_has_it_among_others_is_identical(bare):
    """A task file with more in it, and a hook that was put into another one, count as there."""
    hook = examine(bare, flags=["git"])[".git/hooks/post-checkout"].text
    (bare / "tasks.py").write_text("from invoke import task\nfrom tasks_lib import ns\n")
    (bare / ".git" / "hooks" / "post-checkout").write_text(f"#!/bin/bash\ntrue\n{hook.removeprefix('#!/bin/sh')}")
    found = examine(bare, flags=["git"])
    assert found["tasks.py"].outcome == "identical"
    assert found[".git/hooks/post-checkout"].outcome == "identical"


def test_only_in_the_main_worktree(repository):
    """A linked worktree is refused, with the way to the main one."""
    repository.git("worktree", "add", "--quiet", "-b", "a", repository.worktree("a"))
    said = repository.refuses("init", cwd=repository.worktree("a"))
    assert f"hint: cd {repository.path}\n" in said
    assert not (repository.worktree("a") / "conductor.json").exists()


def test_the_team_settings_are_settings(bare):
    """Without its comment signs, `invoke.yaml` names every key of the table with a value that fits."""
    text = examine(bare)["invoke.yaml"].text
    _, body = text.split("#\n", 1)
    sections = yaml.safe_load("".join(line.removeprefix("# ").removeprefix("#") for line in body.splitlines(True)))
    team = {
        f"{section}.{key}": Origin(value, "invoke.yaml")
        for section, keys in sections.items()
        for key, value in keys.items()
    }
    assert team.keys() == {setting.key for setting in SETTINGS if setting.key}
    settings = load(bare, team, {})
    assert (settings.template, settings.prefix) == ("app_latest", "app")
    assert all(not line or line.startswith("#") for line in text.splitlines())


def test_the_example_env_file_sets_nothing(bare):
    """It names every variable of the table, in comments."""
    text = examine(bare)[".env.example"].text
    assert re.findall(r"^#(\w+)=$", text, re.MULTILINE) == [setting.env for setting in SETTINGS if setting.env]
    assert all(not line or line.startswith("#") for line in text.splitlines())


def test_what_is_written_can_be_read(bare):
    """Every format is valid with a command full of quotes, no mark is left, and each flag has its template."""
    found = examine(bare, flags=FLAGS, run="""sh -c 'echo "a\\b"'""")
    for name, file in found.items():
        assert not re.search(r"@[a-z-]+@", file.text), name
        match Path(name).suffix:
            case ".json":
                json.loads(file.text)
            case ".yaml":
                yaml.safe_load(file.text)
            case ".toml":
                tomllib.loads(file.text)
            case ".sh":
                subprocess.run(["sh", "-n"], input=file.text, text=True, check=True)
    assert json.loads(found["conductor.json"].text)["scripts"]["run"] == """sh -c 'echo "a\\b"'"""
    flags = {argument.name for argument in ns["init"].get_arguments()}
    assert flags == {flag.replace("-", "_") for flag in FLAGS} | {"run", "json"}
    used = {source for template in TEMPLATES for source in (template.source, *template.instead.values())}
    assert used == {file.name for file in files("tasks_lib.scaffold").joinpath("templates").iterdir()}


def test_hook_goes_where_hooks_path_says(bare, tmp_path):
    """`core.hooksPath` is followed; in the worktree it needs a commit, outside of the repository it is refused."""
    subprocess.run(["git", "config", "core.hooksPath", ".githooks"], cwd=bare, check=True)
    remark = examine(bare, flags=["git"])[".githooks/post-checkout"].remark
    assert "core.hooksPath is .githooks" in remark
    assert "commit it" in remark
    subprocess.run(["git", "config", "core.hooksPath", str(tmp_path / "shared")], cwd=bare, check=True)
    with pytest.raises(GitError, match="outside of this repository"):
        examine(bare, flags=["git"])


def test_companions_are_offered_for_shared_databases(bare):
    """A database of tests, on the same server, gets its line in `invoke.yaml`; uncommented, it is a setting."""
    (bare / ".gitignore").write_text(".env*\n")
    (bare / ".env").write_text(
        "DATABASE_URL=postgresql://u:s3cret@localhost/app_dev\nWORKTREE_TEMPLATE_DB=app_golden\n"
    )
    (bare / ".env.test").write_text(
        "DATABASE_URL=postgresql://u:s3cret@localhost/app_test\nLOGS_URL=postgresql://u@logs.example/logs\n"
    )
    result = goldentree(bare, "init")
    text = (bare / "invoke.yaml").read_text()
    line = next(line for line in text.splitlines() if "app_test" in line)
    assert line == "#     - {name: app_test, env: TEST_DATABASE_URL}  # app_test, which .env.test names"
    assert yaml.safe_load(line.removeprefix("#"))[0]["name"] == "app_test"
    assert "logs" not in text
    assert "all worktrees will share database `app_test`, which `DATABASE_URL` in `.env.test` names" in result.stderr
    assert "s3cret" not in result.stderr + result.stdout + text
