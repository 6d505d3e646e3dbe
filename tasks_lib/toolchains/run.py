"""Run a toolchain's command: relay its output, mask passwords, and end every process it started."""

from __future__ import annotations

import errno
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import time
from collections import deque
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote

from tasks_lib.errors import ToolchainError
from tasks_lib.escaping import COLOUR
from tasks_lib.programs import find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from tasks_lib.toolchains.base import Command

    Watch = Callable[[int, Callable[[], object]], AbstractContextManager[None]]

GRACE_SECONDS = 2.0
"""Time between TERM and KILL."""

TAIL_LINES = 20
"""How many lines of a failed command's output its error repeats."""

_TO_FIRST_COLUMN = re.compile(r"\r|\x1b\[1?G")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
"""Sequences that move the cursor, clear, or set links and titles. Colours stay; all others are escaped when printed."""


def run(
    command: Command,
    *,
    env: Mapping[str, str],
    on_line: Callable[[str], None],
    hint: str = "",
    secrets: Collection[str] = (),
    watch: Watch | None = None,
) -> None:
    """
    Run *command* to its end.

    Args:
        env: Its environment, from `child_environment`.
        on_line: Called with each line as it is printed, without passwords.
        hint: The hint of the error if it fails; empty if the plan adds one.
        secrets: Texts to mask in addition to the database's passwords.
        watch: Entered while the command runs, with its pid, which is that of its session, and a function that ends it
            at once. What it raises is raised.

    Raises:
        ToolchainError: If its program is not installed, or it does not exit with 0.
    """
    env = {**env, **command.env}
    argv = [_program(command, env), *command.argv[1:]]
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def relay(line: str) -> None:
        plain = COLOUR.sub("", line)
        tail.append(mask_secrets(plain, env, secrets))
        # A colour in the midst of a password would hide it from the search.
        on_line(line if tail[-1] == plain else tail[-1])

    with _published(command) as output:
        status = _relayed(argv, command.cwd, env, output, relay, watch)
        if status:
            ended = f"exited with {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"
            raise ToolchainError(
                f"`{format_masked(command, env)}` {ended}", why="\n".join([*tail, command.remark]).strip(), hint=hint
            )


def format_masked(command: Command, env: Mapping[str, str]) -> str:
    """Return *command* as a user would type it, without the passwords of *env*'s database."""
    own = command.argv[:2] == ("sh", "-c")
    return mask_secrets(command.argv[2] if own else shlex.join(command.argv), env)


def mask_secrets(text: str, env: Mapping[str, str], others: Collection[str] = ()) -> str:
    """Return *text* with `***` for *others* and for the passwords of *env*'s database, raw and percent-decoded."""
    url = env.get("DATABASE_URL", "")
    written = [found for pair in re.findall(r"://[^:/@]*:([^/@]*)@|\bpassword=([^&\s]*)", url) for found in pair]
    secrets = {env.get("PGPASSWORD", ""), *written, *map(unquote, written), *others} - {""}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _program(command: Command, env: Mapping[str, str]) -> str:
    name = command.argv[0]
    if name == "sh":
        return "/bin/sh"
    if found := find_program(name, env["PATH"]) if name == "psql" else shutil.which(name, path=env["PATH"]):
        return found
    raise ToolchainError(
        f"`{name}` is not installed",
        why="searched PATH, and .venv/bin and node_modules/.bin of this worktree and of the main worktree\n"
        "WORKTREE_MIGRATE and WORKTREE_GENERATE can name another command",
        hint=command.install,
    )


def _relayed(
    argv: list[str],
    cwd: Path,
    env: Mapping[str, str],
    output: IO[bytes] | None,
    relay: Callable[[str], None],
    watch: Watch | None,
) -> int:
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.PIPE if output else subprocess.STDOUT,
            # In a new session it has no terminal to ask questions on, and one process group to end.
            start_new_session=True,
        )
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC):
            raise
        if not cwd.is_dir():
            raise ToolchainError(f"`{cwd}` no longer exists", why="the command would run there") from None
        why = f"{error.strerror}: the first line of a script may name a program that is not there"
        raise ToolchainError(f"`{argv[0]}` cannot be started", why=why, hint=f"head -n 1 {argv[0]}") from None
    stream = process.stderr if output else process.stdout
    assert stream is not None  # noqa: S101 - it is the pipe asked for above
    with stream, watch(process.pid, lambda: _kill(process)) if watch else nullcontext():
        try:
            for line in _lines(stream, process):
                relay(line)
            return process.wait()
        except BaseException:
            _end(process)
            raise


def _lines(stream: IO[bytes], process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield *stream*'s lines until it or *process* ends: a daemon that it started may keep the pipe open for ever."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=0.2):
                chunk = os.read(stream.fileno(), 65536)
                *lines, rest = (rest + chunk).split(b"\n")
                yield from map(_plain, lines)
                if not chunk:
                    break
            elif process.poll() is not None:
                break
    if rest:
        yield _plain(rest)


def _plain(line: bytes) -> str:
    """Return *line* as a terminal finally shows it: with only the last frame of a spinner."""
    return _ESCAPES.sub("", _TO_FIRST_COLUMN.split(line.decode(errors="replace").rstrip())[-1])


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End *process* and all that it started: TERM, then KILL."""
    # ESRCH means that the group has ended; macOS reports EPERM if only zombies are left of it.
    with suppress(ProcessLookupError, PermissionError):
        try:
            os.killpg(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _published(command: Command) -> Iterator[IO[bytes] | None]:
    """Yield a file for *command*'s stdout, if it has an output; rename it to its final name if the body succeeds."""
    if command.output is None:
        yield None
        return
    command.output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = command.output.with_name(f".{command.output.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(f"{command.mark}\n".encode())
            file.flush()
            yield file
        unfinished.replace(command.output)
    finally:
        unfinished.unlink(missing_ok=True)
