"""The documents name what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks_lib import ns
from tasks_lib.footprint import CREATED, DELETED
from tasks_lib.loquent.blocks import BLOCKS
from tasks_lib.loquent.seed_env import KEYS
from tasks_lib.settings import ENV_FIELDS, SETTINGS
from tasks_lib.toolchains.catalog import PRESETS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()


@pytest.mark.parametrize("name", sorted(ns.task_names))
def test_readme_lists_every_task(name):
    """Every task stands in the README's table."""
    assert f"`{name}" in README


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_documents_list_every_setting(setting):
    """Every setting stands in the README by its key, and in both documents by its variable."""
    if setting.key:
        assert f"| `{setting.key}` |" in README
    if setting.env:
        assert f"`{setting.env}`" in README
        assert re.search(rf"^#{setting.env}=", EXAMPLE, re.MULTILINE)


def test_env_example_has_no_other_variable():
    """Nothing in `.env.example` is a variable that nobody reads."""
    listed = set(re.findall(r"^#(\w+)=", EXAMPLE, re.MULTILINE))

    assert listed == {setting.env for setting in SETTINGS if setting.env} | {"GOLDENTREE_HOME"}


def test_copying_the_example_changes_nothing():
    """Every line of `.env.example` is a comment, so copying the whole file sets nothing by accident."""
    assert all(line.startswith("#") for line in EXAMPLE.splitlines() if line)


@pytest.mark.parametrize("name", [*PRESETS, *(f"{{{field}}}" for field in ENV_FIELDS)])
def test_readme_lists_presets_and_template_fields(name):
    """Every preset and every field of `worktree.env` templates stands in the README."""
    assert f"`{name}`" in README


def test_readme_begins_with_the_two_commands():
    """The first two code blocks are the demo and the tests."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)

    assert blocks[:2] == ["python3 -m pip install nox && python3 -m nox -s demo\n", "python3 -m nox\n"]


@pytest.mark.parametrize(
    ("heading", "rows"),
    [
        ("What files does it create?", [(one.where, one.what) for one in CREATED]),
        ("What can it delete?", [(one.what, one.when) for one in DELETED]),
    ],
)
def test_readme_has_the_footprint(heading, rows):
    """The two tables are the code's own lists."""
    section = README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (.+?) \| (.+) \|$", section, re.MULTILINE)[2:] == rows


def test_page_of_the_account():
    """docs/loquent.md has a row for each block, in build order, and one for each key of seed.env with its default."""
    text = (ROOT / "docs" / "loquent.md").read_text()
    blocks, keys = (re.findall(r"^\| `([\w-]+)` \| (.+) \|$", part, re.MULTILINE) for part in text.split("## seed.env"))

    assert [name for name, _ in blocks] == [block.name for block in BLOCKS]
    assert keys == [(key.name, f"{key.why} | {f'`{key.default}`' if key.default else 'nothing'}") for key in KEYS]
