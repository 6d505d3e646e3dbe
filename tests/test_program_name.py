"""Commands in hints: they name the program that was called, and each exists, with its options."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tasks_lib
from tasks_lib import ns, program_name
from tasks_lib.errors import GoldentreeError
from tasks_lib.program_name import COMMAND

SOURCE = Path(tasks_lib.__file__).parent
UNKNOWN = "\ue000"
"""In place of a value in an f-string."""


@pytest.fixture
def folder(tmp_path):
    """Give a folder with the three programs."""
    for name in ("inv", "invoke", "goldentree"):
        (tmp_path / name).touch(mode=0o755)
    return tmp_path


@pytest.mark.parametrize("name", ["inv", "invoke", "goldentree"])
def test_program_on_the_path_is_called_by_its_name(folder, name):
    """A program that the shell would find needs no folder; another one does, also if PATH may be ours alone."""
    called = str(folder / name)
    assert program_name._find_program(called, str(folder), False) == name
    assert program_name._find_program(name, "/nowhere", False) == name
    assert program_name._find_program(called, "/nowhere", False) == called
    assert program_name._find_program(called, str(folder), True) == called


def test_program_that_uses_the_package_is_not_named_in_hints():
    """Callers of the Python API read `inv`, as in the documentation."""
    assert program_name._find_program("/x/app.py", "", False) == "inv"


@pytest.mark.parametrize("options", [[], ["-X", "dev"]])
def test_module_is_called_as_it_was(tmp_path, options):
    """`python -m tasks_lib` is named with its interpreter, in text and in JSON."""
    command = [sys.executable, *options, "-m", "tasks_lib"]
    said = subprocess.run([*command, "agent.wait", "x"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "error: " in said.stderr
    program = subprocess.run(
        [*command, "worktree.create", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert f"hint: {' '.join(command)} --help worktree.create" in program.stderr


def test_hints_name_goldentree_when_it_was_called(repository, monkeypatch):
    """So do cures in JSON; the text of a user is left alone."""
    repository.json("worktree.create", "a")
    record = next((repository.path / ".git/goldentree/worktrees").glob("*.json"))
    record.write_text(record.read_text().replace('"ready"', '"creating"'))
    repository.json("task.add", "inv worktree.create b")
    binary = str(Path(sys.executable).with_name("goldentree"))
    monkeypatch.setenv("PATH", f"{Path(binary).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("UV", raising=False)

    def run(*arguments):
        return subprocess.run([binary, *arguments], cwd=repository.path, capture_output=True, text=True, check=False)

    assert "hint: goldentree worktree.create a" in run("worktree.status", "a").stdout
    problems = json.loads(run("worktree.status", "a", "--json").stdout)["data"]["problems"]
    assert problems[0]["hint"] == "goldentree worktree.create a"
    assert "`goldentree worktree.undo` restores it" in run("--help", "worktree.remove").stdout
    assert run("task.list", "--json").stdout.count("inv worktree.create b") == 1
    assert "hint: inv worktree.create a" in repository.inv("worktree.status", "a").stdout


def _texts(tree):
    """Return the text of each string in a module, with UNKNOWN for values."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else UNKNOWN for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def _commands():
    """Return every command in our texts: the words after `inv`, up to what ends a command in a sentence."""
    for file in SOURCE.rglob("*.py"):
        for text in _texts(ast.parse(file.read_text())):
            for found in COMMAND.finditer(text):
                yield re.split(r"[`\n;,|]|&&|  #|\)|, ", text[found.end() :])[0].split()


def test_every_command_in_a_hint_exists_with_its_options():
    """A hint is only as good as its command."""
    commands = [words for words in _commands() if words]
    assert len(commands) > 100
    for words in commands:
        # Invoke's own options come before the task.
        task = next((word for word in words if not word.startswith("-")), "").rstrip(".:'\"")
        if UNKNOWN in task or words[0] in ("--list", "--search-root", "-R"):
            continue
        assert task in ns.task_names, words
        names = {name.replace("_", "-") for argument in ns[task].get_arguments() for name in argument.names}
        flags = [word for word in words[words.index(task) + 1 :] if re.fullmatch(r"--[a-z][a-z-]*[.:]?", word)]
        assert names.issuperset(word.strip("-.:") for word in flags), words


def test_hint_that_is_added_later_names_the_program_too(monkeypatch):
    """As does one that is given at once."""
    monkeypatch.setattr(sys, "argv", ["goldentree"])
    error = GoldentreeError("no")
    error.add(hint="then:\ninv doctor")
    assert error.hint == "then:\ngoldentree doctor"
    assert str(GoldentreeError("no", hint="inv -R db.reset")) == "error: no\nhint: goldentree -R db.reset"
