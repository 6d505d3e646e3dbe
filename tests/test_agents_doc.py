"""The contract for coding agents names what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks_lib import errors, ns

DOCUMENT = (Path(__file__).parents[1] / "docs" / "agents.md").read_text()

KINDS = {error.kind for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "kind")}


@pytest.mark.parametrize("name", sorted(ns.task_names))
def test_every_task_has_its_answer(name):
    """Every task stands in the table of answers, in the first column."""
    assert re.search(rf"^\|[^|]*`{re.escape(name)}`[^|]*\| [^|]*[{{\[*]", DOCUMENT, re.MULTILINE)


def test_the_codes_are_those_of_the_errors():
    """The table of error codes has every one, and no other."""
    (table,) = re.findall(r"^\| `error.code` .*\n.*\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == KINDS


def test_no_task_that_there_is_not():
    """What looks like a task, in the block to be copied too, is one."""
    nouns = {name.partition(".")[0] for name in ns.task_names if "." in name}
    named = set(re.findall(rf"(?:inv |`)((?:{'|'.join(nouns)})\.[a-z]+)\b(?!\.)", DOCUMENT))
    settings = {"ledger.db", "worktree.env", "worktree.after_setup", "worktree.json", "worktree.sh"}
    assert named - settings <= {*ns.task_names, *(alias for aliases in ns.task_names.values() for alias in aliases)}
