"""Answers, documents, tables and narration."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from tasks_lib import output, waits
from tasks_lib.errors import GitError


def test_documents_hold_data_or_an_error():
    """A document has the key `data` or the key `error`."""
    assert json.loads(output.format_document({"a": "ö"})) == {"schema_version": 1, "data": {"a": "ö"}}
    error = json.loads(output.format_error_document(GitError("what", hint="cure")))["error"]
    assert error == {"code": "git", "message": "what", "why": None, "hint": "cure"}


def test_table_aligns_columns_and_drops_control_characters():
    """No line ends in blanks, and no cell can move the cursor."""
    assert (
        output.format_table(("A", "B", "C"), [("long", "x", ""), ("s", "", "y")]) == "A     B  C\nlong  x\ns        y"
    )
    assert output.format_table(("A", "B"), []) == "A  B"
    assert output.format_table(("A",), [("\x1b]0;owned\x07 \x9b2J",)]) == "A\n\\x1b]0;owned\\x07 \\x9b2J"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (47 * 3600, "47 h"), (10**6, "12 days")],
)
def test_age_uses_the_largest_fitting_unit(seconds, said):
    """An age is a rounded number and a unit."""
    assert output.format_age(seconds) == said


@pytest.mark.parametrize(("count", "said"), [(0, "0 B"), (8192, "8192 B"), (17 * 1024**2, "17 MB"), (10**15, "909 TB")])
def test_size_is_formatted_as_by_postgres(count, said):
    """Sizes are powers of 1024."""
    assert output.format_size(count) == said


def test_narration_is_printed_on_stderr(capsys):
    """Stdout stays empty; a step prints how it ended."""
    narrator = output.Narrator(moving=False)
    with narrator.step("work") as remarks:
        remarks.append("remark")
    with pytest.raises(GitError), narrator.step("fail"):
        raise GitError("no")
    out, err = capsys.readouterr()
    assert out == ""
    done, failed = err.splitlines()
    assert done.startswith("✓ work · remark (")
    assert failed.startswith("✗ fail (")


def test_pipe_gets_progress_in_plain_lines(capsys, monkeypatch):
    """A line with the progress is printed every few seconds."""
    narrator = output.Narrator(moving=False)
    with narrator.step("work"):
        narrator.progress(1, 10)
        monkeypatch.setattr(output, "PROGRESS_SECONDS", -1)
        narrator.progress(2 << 20, 4 << 20)
    narrator.progress(3, 10)
    progress, done = capsys.readouterr().err.splitlines()
    assert progress == f"  … {'━' * 12}{'─' * 12} 2048 kB of about 4096 kB"
    assert done.startswith("✓ work (")


def test_terminal_shows_running_steps_in_place():
    """Running steps are shown in place, and the same lines as in a pipe remain."""
    script = (
        "import pty, os, sys\n"
        "from tasks_lib.output import Narrator\n"
        "narrator = Narrator()\n"
        "with narrator.step('[outer]'), narrator.step('inner'):\n"
        "    narrator.relay('a child says [b]this[/b]')\n"
        "    narrator.progress(1 << 20, 4 << 20)\n"
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


def test_closed_pipe_does_not_count_as_failure():
    """`| head` leaves no traceback, neither while printing nor when Python exits."""
    script = "from tasks_lib.output import print_answer\nfor _ in range(3): print_answer('x' * 100_000)"
    result = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -c "$1" | head -c 1', sys.executable, script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""


def test_answer_that_cannot_be_written_is_an_error(tmp_path):
    """A full disk is an error without a traceback, also when Python exits."""
    for git in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "Start"]):
        subprocess.run(["git", *git], cwd=tmp_path, check=True)
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); import tasks_lib.program as p; p.main()"
    )
    with (tmp_path / "answer").open("w") as file:
        run = [sys.executable, "-c", script, "config.show"]
        result = subprocess.run(run, cwd=tmp_path, stdout=file, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "error: cannot write the answer to stdout: File too large\n"


@pytest.mark.parametrize(("option", "home"), [("--help", "."), ("--list", "."), ("--list", "/dev/null")])
def test_failure_outside_of_a_task_is_an_error(tmp_path, option, home):
    """Help that cannot be written, and a HOME that is a file, print no traceback."""
    script = "import sys; sys.argv[0] = 'goldentree'; from tasks_lib.program import main; main()"
    result = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" "$2" >/dev/full', sys.executable, script, option],
        cwd=tmp_path,
        env={**os.environ, "HOME": home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "\nhint: " in result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


@pytest.mark.parametrize("stream", ["2>/dev/full", "2>&1 >/dev/null | head -c 1", "2>&-"])
def test_narration_that_cannot_be_printed_does_not_stop_a_command(stream):
    """What a command does must not depend on who reads along; nothing of it lands in the answer."""
    script = "from tasks_lib.output import *\nnarrator = Narrator()\nfor _ in range(3): narrator.say('x' * 100_000)\n"
    script += "open('/dev/fd/3', 'w').write('done')"
    result = subprocess.run(
        ["bash", "-c", f'exec 3>&1; "$0" -c "$1" {stream}', sys.executable, script], capture_output=True, check=False
    )
    assert result.stdout.replace(b"x", b"") == b"done"
    assert result.stdout.count(b"x") <= 1
    assert result.stderr == b""


def test_answer_falls_back_to_utf_8(monkeypatch):
    """A character that the locale lacks is printed as UTF-8, and an invalid path that programs read as its bytes."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    output.print_answer("├ ü \udcff", exact=True)
    output.print_answer("ü \udcff")
    assert sys.stdout.buffer.getvalue() == "├ ü ".encode() + b"\xff\n" + "ü \\udcff\n".encode()


def test_terminal_never_gets_bytes_of_another_encoding(monkeypatch):
    """UTF-8 has bytes that a terminal of Latin-1 takes for control characters, such as the last of `ś`."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "latin-1"))
    monkeypatch.setattr(output, "in_terminal", lambda: True)
    output.print_answer("ü ś", exact=True)
    assert sys.stdout.buffer.getvalue() == b"\xfc \\u015b\n"


def test_patch_is_exact_in_a_pipe_and_escaped_in_a_terminal(monkeypatch, capsys):
    """A terminal shows what a changed file would do to it, in our colours; what reads a pipe can apply the patch."""
    patch = "+a\x1b[8mhidden\r\n-b\u202e\n c"
    output.print_answer(output.colour_patch(patch), exact=True)
    assert capsys.readouterr().out == f"{patch}\n"
    monkeypatch.setattr(output, "in_terminal", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.print_answer(output.colour_patch(patch), exact=True)
    assert capsys.readouterr().out == "\x1b[32m+a\\x1b[8mhidden\\r\x1b[m\n\x1b[31m-b\\u202e\x1b[m\n c\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.colour_patch(patch) == patch


def test_colours_of_a_child_process_stay_on_a_terminal_alone(monkeypatch, capsys):
    """They end with their line; no other sequence passes, and none passes into a pipe."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    line = "\x1b[1;31mred\x1b]52;c;eA==\x07\x1b[2J"
    output.Narrator().relay(line)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    output.Narrator().relay(line)
    piped, shown = capsys.readouterr().err.splitlines()
    assert piped == "  │ red\\x1b]52;c;eA==\\x07\\x1b[2J"
    assert shown == "  │ \x1b[1;31mred\\x1b]52;c;eA==\\x07\\x1b[2J\x1b[m"


def test_no_line_of_foreign_text_looks_like_one_of_ours(capsys):
    """Only the first line of a remark, a value, or an error begins at the left."""
    narrator = output.Narrator(moving=False)
    narrator.say("took `a\n✓ drop everything`")
    assert capsys.readouterr().err == "took `a\n  ✓ drop everything`\n"
    assert output.format_pairs([("task", "a\nstate  done"), ("state", "new")]) == (
        "task   a\n       state  done\nstate  new"
    )
    waits.say("waiting for `\x1b[2J\n✓ done`")
    assert capsys.readouterr().err == "… waiting for `\\x1b[2J\n  ✓ done`\n"
    error = GitError("`a\nhint: rm -rf ~`", why="\x1b[2J", hint="b\u2028c")
    assert str(error) == "error: `a\n  hint: rm -rf ~`\n  \\x1b[2J\nhint: b\\u2028c"
    described = json.loads(output.format_error_document(error))["error"]
    assert described["message"] == "`a\nhint: rm -rf ~`"


def test_documents_escape_what_a_terminal_obeys():
    """JSON itself leaves C1 controls, overrides of the direction and lone surrogates as they are."""
    text = "ö \x1b \x9b \u202e \udcff \U000e0041"
    document = output.format_document(text)
    assert r"ö \u001b \u009b \u202e \udcff \udb40\udc41" in document
    assert json.loads(document)["data"] == text


def test_closed_stdout_does_not_count_as_a_terminal(monkeypatch):
    """With stdout closed (`>&-`), printing a table does nothing."""
    monkeypatch.setattr(sys, "stdout", None)
    output.print_answer(output.format_table(["A"], [["b"]]))
