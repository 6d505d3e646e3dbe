"""The contract for coding agents names what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks_lib import errors, ns

DOCS = Path(__file__).parents[1] / "docs"
CONTRACT, ANSWERS, CODES = (
    (DOCS / f"{name}.md").read_text() for name in ("how-to/coding-agents", "reference/json", "reference/errors")
)

KINDS = {error.kind for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "kind")}


@pytest.mark.parametrize("name", sorted(ns.task_names))
def test_every_task_has_its_answer(name):
    """Every task is in the table of answers, in the first column."""
    assert re.search(rf"^\|[^|]*`{re.escape(name)}`[^|]*\| [^|]*[{{\[*]", ANSWERS, re.MULTILINE)


def test_the_codes_are_those_of_the_errors():
    """The table of error codes has every one, and no other."""
    (table,) = re.findall(r"^\| `error.code` .*\n.*\n((?:\|.*\n)+)", CODES, re.MULTILINE)
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == KINDS


@pytest.mark.parametrize("document", [CONTRACT, ANSWERS], ids=["contract", "answers"])
def test_documents_name_existing_tasks_only(document):
    """Everything that looks like a task is one, including in the block to be copied."""
    nouns = {name.partition(".")[0] for name in ns.task_names if "." in name}
    named = set(re.findall(rf"(?:inv |`)((?:{'|'.join(nouns)})\.[a-z]+)\b(?!\.)", document))
    settings = {"ledger.db", "worktree.env", "worktree.ports", "worktree.after_setup", "worktree.json", "worktree.sh"}
    assert named - settings <= {*ns.task_names, *(alias for aliases in ns.task_names.values() for alias in aliases)}
