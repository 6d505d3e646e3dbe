"""The documents name what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dev.reference import generated
from tasks_lib import ns
from tasks_lib.loquent.blocks import BLOCKS
from tasks_lib.loquent.seed_env import KEYS
from tasks_lib.settings import SETTINGS
from tasks_lib.settings.values import ENV_FIELDS
from tasks_lib.toolchains.catalog import PRESETS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()


def page(name: str) -> str:
    """Return the text of the page *name* of `docs`."""
    return (ROOT / "docs" / f"{name}.md").read_text()


TASKS, SETTINGS_PAGE, TOOLS = (page(f"reference/{name}") for name in ("tasks", "settings", "migration-tools"))


@pytest.mark.parametrize("name", sorted(ns.task_names))
def test_task_page_lists_every_task(name):
    """Every task is in the tables of tasks."""
    assert f"`{name}" in TASKS


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_documents_list_every_setting(setting):
    """Every setting is in the table of settings by its key, and in both documents by its variable."""
    if setting.key:
        assert f"| `{setting.key}` |" in SETTINGS_PAGE
    if setting.env:
        assert f"`{setting.env}`" in SETTINGS_PAGE
        assert re.search(rf"^#{setting.env}=", EXAMPLE, re.MULTILINE)


def test_env_example_has_no_other_variable():
    """Every variable in `.env.example` is one that goldentree reads."""
    listed = set(re.findall(r"^#(\w+)=", EXAMPLE, re.MULTILINE))

    assert listed == {setting.env for setting in SETTINGS if setting.env} | {"GOLDENTREE_HOME"}


def test_copying_the_example_changes_nothing():
    """Every line of `.env.example` is a comment, so copying the whole file sets nothing by accident."""
    assert all(line.startswith("#") for line in EXAMPLE.splitlines() if line)


@pytest.mark.parametrize("name", PRESETS)
def test_migration_tool_page_lists_every_preset(name):
    """Every preset is on the page of migration tools."""
    assert f"`{name}`" in TOOLS


@pytest.mark.parametrize("name", ENV_FIELDS)
def test_settings_page_lists_every_template_field(name):
    """Every field of `worktree.env` templates is on the page of settings."""
    assert f"`{{{name}}}`" in SETTINGS_PAGE


def test_readme_fits_on_two_screens():
    """The README has at most 150 lines; the rest is below docs/."""
    assert len(README.splitlines()) <= 150


def test_readme_begins_with_the_two_commands():
    """The first two code blocks are the demo and the tests."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)

    assert blocks[:2] == ["python3 -m pip install nox && python3 -m nox -s demo\n", "python3 -m nox\n"]


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_generated_page_is_current(path):
    """`python dev/reference.py` would change nothing."""
    assert path.read_text("utf-8") == generated()[path]


def test_golden_build_page_lists_blocks_and_keys():
    """The page has a row for each block, in build order, and one for each key of seed.env with its default."""
    parts = page("how-to/build-golden").split("## seed.env")
    blocks, keys = (re.findall(r"^\| `([\w-]+)` \| (.+) \|$", part, re.MULTILINE) for part in parts)

    assert [name for name, _ in blocks] == [block.name for block in BLOCKS]
    assert keys == [(key.name, f"{key.why} | {f'`{key.default}`' if key.default else 'nothing'}") for key in KEYS]


@pytest.mark.parametrize(
    "name", ["CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md", "docs/static/worktree-create.svg"]
)
def test_maps_name_existing_files_only(name):
    """Every module and directory that the maps for contributors name is there; `<...>` is a placeholder."""
    text = (ROOT / name).read_text()
    rooms = "|".join(path.stem for path in (ROOT / "tasks_lib").iterdir() if path.is_dir() and path.stem.isalpha())
    paths = set(re.findall(r"\b(?:tasks_lib|tests)/[\w/.-]*\w(?![\w/.]*<)", text))
    paths |= {f"tasks_lib/{path}" for path in re.findall(rf"(?<![\w/])(?:{rooms})/[\w/]+(?:\.py)?", text)}
    paths |= {f"tasks_lib/worktrees/{path}" for path in re.findall(r"(?<![\w/])steps/\w+\.py", text)}
    assert len(paths) > 3
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_contributing_lists_every_session():
    """The table of sessions has those of the noxfile, and no other."""
    sessions = re.findall(r"^@nox\.session.*\ndef (\w+)\(", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| session | does |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(sessions)


def test_pre_commit_runs_the_ruff_of_lint():
    """The version in the pre-commit hooks is the one that `nox -s lint` installs."""
    (pinned,) = re.findall(r'"(ruff==[\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert set(re.findall(r"ruff==[\d.]+", (ROOT / ".pre-commit-config.yaml").read_text())) == {pinned}
