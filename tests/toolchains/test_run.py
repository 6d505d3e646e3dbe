"""Running a child process: its output, its exit, and what it leaves behind."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tasks_lib.errors import ToolchainError
from tasks_lib.toolchains.base import Command
from tasks_lib.toolchains.run import mask_secrets, run

if TYPE_CHECKING:
    from pathlib import Path


def sh(script: str, cwd: Path, on_line=print, **env: str) -> None:
    command = Command(("sh", "-c", script), cwd)
    run(command, env={"PATH": os.environ["PATH"], **env}, on_line=on_line, hint="inv db.migrate")


def test_lines_arrive_as_they_are_printed(tmp_path: Path) -> None:
    """A line is relayed while its process waits for what comes after it."""
    go = tmp_path / "go"
    lines = []

    def on_line(line: str) -> None:
        lines.append(line)
        go.touch()

    sh("echo first; while ! test -e go; do sleep 0.02; done; echo second >&2", tmp_path, on_line)
    assert lines == ["first", "second"]


def test_lines_are_shown_as_on_a_terminal(tmp_path: Path) -> None:
    """Colours stay, and only the last frame of a spinner and the text of a link are kept."""
    lines = []
    sh(r"printf '\033[31mred\033[0m\r\n'; printf '10%%\r99%%\n'; printf 'a\033[2K\033[1Gb'", tmp_path, lines.append)
    sh(r"printf '\033]8;;file:///x\033\\link\033]8;;\007'", tmp_path, lines.append)
    assert lines == ["\x1b[31mred\x1b[0m", "99%", "b", "link"]


def test_error_of_a_child_has_no_control_sequences(tmp_path: Path) -> None:
    """Neither colours nor others, and a password is masked also where a colour divides it."""
    lines = []
    with pytest.raises(ToolchainError) as caught:
        sh(
            r"printf '\033[31mpa\033[0mss \033]52;c;eA==\007 \033P0q\n'; exit 1",
            tmp_path,
            lines.append,
            PGPASSWORD="pass",
        )
    assert lines == ["***  \x1bP0q"]
    assert "\n  ***  \\x1bP0q\n" in str(caught.value)


def test_a_directory_that_was_removed_is_an_error(tmp_path: Path) -> None:
    """Another process may remove the worktree before the command starts."""
    with pytest.raises(ToolchainError, match="gone` no longer exists"):
        sh("true", tmp_path / "gone")


@pytest.mark.parametrize("first", ["#!/nowhere/python3\n", ""])
def test_a_program_that_cannot_be_started_is_an_error(tmp_path: Path, first: str) -> None:
    """A virtual environment that was moved has scripts whose Python is elsewhere."""
    program = tmp_path / "tool"
    program.write_text(f"{first}true\n")
    program.chmod(0o755)
    with pytest.raises(ToolchainError, match="tool` cannot be started") as caught:
        run(Command(("tool",), tmp_path), env={"PATH": str(tmp_path)}, on_line=print)
    assert caught.value.hint == f"head -n 1 {program}"


def test_failure_has_the_last_lines(tmp_path: Path) -> None:
    """The error has the command, its status, the end of its output and what to do."""
    with pytest.raises(ToolchainError) as caught:
        sh("seq 100; exit 3", tmp_path)
    assert caught.value.what == "`seq 100; exit 3` exited with 3"
    assert caught.value.why.splitlines() == [str(number) for number in range(81, 101)]
    assert caught.value.hint == "inv db.migrate"


def test_killed_child_names_its_signal(tmp_path: Path) -> None:
    """The error of a killed child names the signal instead of a status."""
    with pytest.raises(ToolchainError, match="was ended by SIGKILL"):
        sh("kill -9 $$", tmp_path)


def test_missing_program_is_an_error(tmp_path: Path) -> None:
    """The error says that the program is not installed and how to install it."""
    command = Command(("no-such-tool",), tmp_path, install="cargo install no-such-tool")
    with pytest.raises(ToolchainError, match="`no-such-tool` is not installed") as caught:
        run(command, env={"PATH": "/usr/bin"}, on_line=print, hint="")
    assert caught.value.hint == "cargo install no-such-tool"


def test_child_has_no_stdin_and_no_terminal(tmp_path: Path) -> None:
    """A child that asks a question reads the end of the file, and has no terminal to ask on."""
    lines = []
    sh("read answer || echo nothing; (: </dev/tty) 2>/dev/null || echo no terminal", tmp_path, lines.append)
    assert lines == ["nothing", "no terminal"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:s3cr%2Fet@db/app",
        "postgresql+psycopg://ada:s3cr%2Fet@db/app",
        "postgresql://db/app?user=ada&password=s3cr%2Fet&sslmode=disable",
        "host=db user=ada password=s3cr%2Fet",
    ],
)
def test_passwords_of_urls_are_masked(url: str) -> None:
    """The password is masked both as written and decoded."""
    assert mask_secrets("a s3cr%2Fet b s3cr/et c", {"DATABASE_URL": url}) == "a *** b *** c"


def test_passwords_in_output_are_masked(tmp_path: Path) -> None:
    """A child may print its environment; its output is relayed without passwords."""
    lines = []
    with pytest.raises(ToolchainError) as caught:
        sh(
            "echo $DATABASE_URL $PGPASSWORD; false",
            tmp_path,
            lines.append,
            DATABASE_URL="x://a:pa%20ss@h",
            PGPASSWORD="pa ss",
        )
    assert lines == ["x://a:***@h ***"]
    assert caught.value.why == "x://a:***@h ***"


@pytest.mark.parametrize("failure", [KeyboardInterrupt, BrokenPipeError])
def test_nothing_survives_an_interruption(tmp_path: Path, failure: type[BaseException]) -> None:
    """Ctrl-C, or any failure while relaying, ends the child and what it started, even what ignores TERM."""
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    script = "sh -c 'trap \"\" TERM; exec 3>alive; echo here >&3; echo ready; while :; do sleep 0.1; done' & wait"

    def on_line(_: str) -> None:
        raise failure

    with pytest.raises(failure):
        sh(script, tmp_path, on_line)
    with os.fdopen(reader, "rb") as alive:
        os.set_blocking(alive.fileno(), True)
        assert alive.read() == b"here\n"  # returns once no process has it open for writing


def test_child_may_clean_up_on_term(tmp_path: Path) -> None:
    """TERM is sent first, and the child has time to exit."""

    def on_line(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sh("trap 'echo bye > said; exit' TERM; echo ready; while :; do sleep 0.05; done", tmp_path, on_line)
    assert (tmp_path / "said").read_text() == "bye\n"


def test_daemon_does_not_delay_the_end(tmp_path: Path) -> None:
    """The command ends even if a process that it left behind keeps its pipe open."""
    lines = []
    sh("sleep 600 & echo $!", tmp_path, lines.append)
    os.kill(int(lines[0]), 9)  # fails if it is gone


def test_output_file_gets_stdout_only(tmp_path: Path) -> None:
    """A command's stdout becomes its file, below the mark; its stderr is relayed."""
    target = tmp_path / "made" / "models.py"
    lines = []
    argv = (sys.executable, "-c", "import sys; print('models'); print('warning', file=sys.stderr)")
    command = Command(argv, tmp_path, output=target, mark="# generated")
    run(command, env={"PATH": os.environ["PATH"]}, on_line=lines.append, hint="")
    assert target.read_text() == "# generated\nmodels\n"
    assert lines == ["warning"]
    assert list(target.parent.iterdir()) == [target]
