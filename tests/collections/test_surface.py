"""All tasks: help, one JSON document per failure, the standalone binary."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tasks_lib import __version__, ns
from tasks_lib.program import main

ARGUMENTS = {name: ns[name].get_arguments() for name in ns.task_names}


def goldentree(cwd, *arguments):
    return subprocess.run(
        [sys.executable, "-c", "from tasks_lib.program import main; main()", *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_every_task_and_argument_has_help(name):
    """The first line of the help fits, and each argument has help and no short flag."""
    first, *_ = ns[name].__doc__.strip().splitlines()
    assert 0 < len(first) <= 70
    assert not first.endswith(".")
    for argument in ARGUMENTS[name]:
        assert argument.help, argument.name
        assert all(len(each) > 1 for each in argument.names)
    assert any(argument.name == "json" for argument in ARGUMENTS[name])


@pytest.mark.parametrize("name", sorted(name for name in ARGUMENTS if not name.startswith(("server.", "demo"))))
def test_failure_outside_a_repository_is_one_document(tmp_path, monkeypatch, capfd, name):
    """Every task that needs a repository says so in JSON, with status 1."""
    arguments = ["x"] * sum(argument.positional for argument in ARGUMENTS[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["goldentree", name, *arguments, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert (ended.value.code, err) == (1, "")
    error = json.loads(out)["error"]
    assert error["code"] == "git"
    assert "is not in a git repository" in error["message"]
    assert error["hint"]


def test_failure_in_a_process_is_one_document(tmp_path):
    """A whole process prints the document and exits with 1, too."""
    result = goldentree(tmp_path, "worktree.list", "--json")
    assert (result.returncode, result.stderr) == (1, "")
    assert json.loads(result.stdout)["error"]["code"] == "git"


def test_list_names_every_task(repository):
    """`--list` names every task in `inv` and in the binary; `worktree` alone lists the worktrees."""
    for listed in (repository.inv("--list"), goldentree(repository.path, "--list")):
        assert listed.returncode == 0
        for name in ("worktree.create", "worktree.remove", "db.clone", "server.start", "config.show"):
            assert f"  {name} " in listed.stdout
    assert repository.inv("worktree").stdout == repository.inv("worktree.list").stdout


def test_list_of_the_binary_has_every_task_once(tmp_path):
    """The headings of `goldentree --list` leave out no task, and list none twice."""
    listed = re.findall(
        r"^  (\S+\.\S+|init|doctor|demo)(?: \(.*?\))?  ", goldentree(tmp_path, "--list").stdout, re.MULTILINE
    )
    assert sorted(listed) == sorted(ARGUMENTS)


def test_overview_fits_a_screen_and_names_tasks_that_exist(tmp_path):
    """`goldentree` alone prints one screen; what it names can be run."""
    lines = goldentree(tmp_path).stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    named = set(re.findall(r"\b[a-z]+\.[a-z]+\b", "\n".join(lines[1:])))
    assert "worktree.create" in named
    assert named <= ARGUMENTS.keys()


def test_list_ends_with_its_reader(tmp_path):
    """`goldentree --list | head` prints no traceback."""
    command = f"{sys.executable} -m tasks_lib --list | head -n 1"
    ended = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("To begin:\n", "")


def test_help_prints_docstring_and_options(repository):
    """`--help` prints the whole docstring and every option."""
    said = repository.inv("--help", "worktree.create").stdout
    assert "undoes what this call did" in said
    assert "--base=STRING" in said
    assert "--no-db" in said


def test_binary_works_without_tasks_py(repository):
    """The binary works in any repository, with the main worktree's `invoke.yaml` from a linked one, too."""
    repository.git("rm", "--quiet", "tasks.py")
    (repository.path / "invoke.yaml").write_text("db:\n  clone_method: dump\n")
    repository.commit("No tasks")
    created = json.loads(goldentree(repository.path, "worktree.create", "a", "--json").stdout)["data"]
    assert created["clone"]["method"] == "dump"
    (repository.worktree("a") / "invoke.yaml").write_text("db:\n  clone_method: template\n")
    shown = json.loads(goldentree(repository.worktree("a"), "config.show", "--json").stdout)["data"]
    values = {row["name"]: row["value"] for row in shown}
    assert values["db.clone_method"] == "dump"
    (repository.path / "invoke.yaml").write_text("db: [\n")
    broken = goldentree(repository.path, "worktree.list")
    assert "error: invoke.yaml cannot be read" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_version_is_that_of_goldentree(tmp_path):
    """The binary prints its version, not Invoke's."""
    assert goldentree(tmp_path, "--version").stdout == f"goldentree {__version__}\n"


def test_removed_current_directory_is_an_error(tmp_path):
    """In a removed worktree, a task prints an error, not a traceback."""
    script = "import os, sys; os.mkdir('x'); os.chdir('x'); os.rmdir('../x'); sys.argv[0] = 'goldentree'\n"
    script += "from tasks_lib.program import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", script, "worktree.list"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr == "error: the current directory is gone\nhint: cd elsewhere\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_flag_after_a_task_is_refused(repository, flag):
    """Invoke takes `--help` for the branch; the error says how to get the help."""
    assert "hint: inv --help worktree.create" in repository.refuses("worktree.create", flag)
