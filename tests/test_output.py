"""What is printed, and where."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from tasks_lib import output
from tasks_lib.errors import GitError


def test_documents():
    """An answer and an error are told apart by their keys."""
    assert json.loads(output.document({"a": "ö"})) == {"schema_version": 1, "data": {"a": "ö"}}
    error = json.loads(output.error_document(GitError("what", hint="cure")))["error"]
    assert error == {"code": "git", "message": "what", "why": None, "hint": "cure"}


def test_a_table():
    """Columns are aligned, no line ends in blanks, and no cell reaches the terminal's controls."""
    assert output.table(("A", "B", "C"), [("long", "x", ""), ("s", "", "y")]) == "A     B  C\nlong  x\ns        y"
    assert output.table(("A", "B"), []) == "A  B"
    assert output.table(("A",), [("\x1b]0;owned\x07 \x9b2J",)]) == "A\n\ufffd]0;owned\ufffd \ufffd2J"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (47 * 3600, "47 h"), (10**6, "12 days")],
)
def test_ages(seconds, said):
    """In the largest unit that fits."""
    assert output.age(seconds) == said


@pytest.mark.parametrize(("count", "said"), [(0, "0 B"), (8192, "8192 B"), (17 * 1024**2, "17 MB"), (10**15, "909 TB")])
def test_sizes(count, said):
    """As Postgres prints them."""
    assert output.size(count) == said


def test_the_narration_is_stderr(capsys):
    """The answer alone goes to stdout; a step says how it ended."""
    narrator = output.Narrator(moving=False)
    with narrator.step("work") as remarks:
        remarks.append("well")
    with pytest.raises(GitError), narrator.step("fail"):
        raise GitError("no")
    out, err = capsys.readouterr()
    assert out == ""
    done, failed = err.splitlines()
    assert done.startswith("✓ work · well (")
    assert failed.startswith("✗ fail (")


def test_progress_in_a_pipe(capsys, monkeypatch):
    """How far a step is, is said now and then, in plain lines."""
    narrator = output.Narrator(moving=False)
    with narrator.step("work"):
        narrator.at(1, 10)
        monkeypatch.setattr(output, "PROGRESS_SECONDS", -1)
        narrator.at(2 << 20, 4 << 20)
    narrator.at(3, 10)
    said = capsys.readouterr().err
    progress, done = said.splitlines()
    assert progress == f"  … {'━' * 12}{'─' * 12} 2048 kB of about 4096 kB"
    assert done.startswith("✓ work (")


def test_on_a_terminal():
    """Narration moves, and leaves the same lines behind."""
    script = (
        "import pty, os, sys\n"
        "from tasks_lib.output import Narrator\n"
        "narrator = Narrator()\n"
        "with narrator.step('[outer]'), narrator.step('inner'):\n"
        "    narrator.relay('a child says [b]this[/b]')\n"
        "    narrator.at(1 << 20, 4 << 20)\n"
        "    narrator._progress.refresh()\n"
    )
    pty = f"import pty, sys; sys.exit(pty.spawn([sys.executable, '-c', {script!r}]))"
    result = subprocess.run(
        [sys.executable, "-c", pty], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert "│ a child says [b]this[/b]" in result.stdout
    assert f"inner  {'━' * 6}{'─' * 18} 1024 kB of about 4096 kB" in result.stdout
    assert "✓ inner (" in result.stdout
    assert "✓ [outer] (" in result.stdout


def test_a_reader_that_went_away():
    """`| head` is no failure, and leaves no traceback, neither now nor when Python ends."""
    script = "from tasks_lib.output import answer\nfor _ in range(3): answer('x' * 100_000)"
    result = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -c "$1" | head -c 1', sys.executable, script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""


def test_an_answer_that_cannot_be_written(tmp_path):
    """To a full disk say; it is an error, and leaves no traceback when Python ends, either."""
    for git in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "Start"]):
        subprocess.run(["git", *git], cwd=tmp_path, check=True)
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); import tasks_lib.program as p; p.main()"
    )
    with (tmp_path / "answer").open("w") as file:
        run = [sys.executable, "-c", script, "config.show"]
        result = subprocess.run(run, cwd=tmp_path, stdout=file, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "error: the answer cannot be written: File too large\n  it was to go to stdout\n"


def test_what_the_locale_lacks(monkeypatch):
    """An answer that the locale cannot say comes as UTF-8, with the bytes of a name that is no text."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    output.answer("├ ü \udcff")
    assert sys.stdout.buffer.getvalue() == "├ ü ".encode() + b"\xff\n"


def test_stdout_is_closed(monkeypatch):
    """Without a stdout (`>&-`) there is no terminal, and a table is drawn for nobody."""
    monkeypatch.setattr(sys, "stdout", None)
    output.answer(output.table(["A"], [["b"]]))
