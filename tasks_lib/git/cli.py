"""
Run git so that nothing in the environment changes what it does.

Argument lists only, machine-readable output only, no inherited `GIT_DIR`. Errors quote git's message.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tasks_lib.errors import GitError, find_cure
from tasks_lib.programs import trusted_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# Inside a hook git exports GIT_DIR, GIT_INDEX_FILE and others, which would send our calls to another repository. What
# people set on purpose (transport, authorship, LFS, configuration such as a container's safe.directory) stays.
_DROPPED = {
    # All that `git rev-parse --local-env-vars` lists in git 2.32 to 2.55, but GIT_CONFIG_COUNT.
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
    # These change which files our arguments name, and how much context a patch has, by which merges are proven.
    "GIT_DIFF_OPTS",
    "GIT_GLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
}

CALLER = {"GOLDENTREE": "1"}
"""Tells a git hook that calls us that this program is already running."""


def git_environment() -> dict[str, str]:
    """Return the process environment without variables that name a repository, and with prompts disabled."""
    kept = {key: value for key, value in os.environ.items() if key not in _DROPPED}
    # LANGUAGE overrides LC_ALL in every locale but plain C, and we parse git's messages. git itself
    # is looked for on this PATH, and so are the `sh` and `ssh` that it runs.
    ours = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", "LANGUAGE": "", "PATH": trusted_path()}
    return {**kept, **CALLER, **ours}


_TEMPORARY = re.compile(r"failed to read .*worktrees/[^/]+/commondir|could not lock config file")
"""
git's errors while another process creates a worktree, or changes the configuration.

The file `commondir` exists before its content does (setup.c, get_common_dir_noenv); git does not wait for the lock of
the configuration. Both were seen with eight processes at once.
"""

_SHOWN = 10
"""How many of git's last lines an error quotes."""

_PROGRESS = re.compile(r"\b\d+% \(")
_TAIL_BYTES = 4096
_REPORT_SECONDS = 0.2
_GRACE_SECONDS = 2.0

SILENT_SECONDS = 300.0
"""How long git may do nothing while it talks to a remote: print nothing, and use no CPU time."""

_ATTEMPTS = 20
_PAUSE = 0.025


_LINK_BYTES = 10_000
"""How much of a worktree's `.git` to read: one path."""

_repositories: set[Path] = set()
"""The common directories of the repositories that this process works in."""


def work_in(common: Path) -> None:
    """Note that this process works in the repository whose common directory is *common*."""
    _repositories.add(Path(os.path.realpath(common)))


def _require_linked(cwd: Path) -> None:
    """
    Refuse a worktree of ours whose `.git` leads elsewhere.

    Who may write in a worktree alone could otherwise let us run the programs that another configuration names
    (core.fsmonitor, filters).

    Raises:
        GitError: If it does.
    """
    root = next((folder for folder in (cwd, *cwd.parents) if os.path.lexists(folder / ".git")), None)
    if root is None:
        return
    link = ".git"
    if (root / ".git").is_file():
        with (root / ".git").open("rb") as file:
            link = os.fsdecode(file.read(_LINK_BYTES)).removeprefix("gitdir:").strip()
    place, pointer = Path(os.path.realpath(root / link)), Path(os.path.realpath(root), ".git")
    # git itself refuses a place that does not exist.
    if not place.exists() or any(place.is_relative_to(common) for common in _repositories):
        return
    for common in _repositories:
        for back in common.glob("worktrees/*/gitdir"):
            with suppress(FileNotFoundError):  # just being removed
                known = os.fsdecode(back.read_bytes()).rstrip("\n")
                if Path(os.path.realpath((back.parent / known).parent), ".git") != pointer:
                    continue
                raise GitError(
                    f"`{root}` points to another repository",
                    why=f"its .git leads to {place}, whose configuration may name any program",
                    hint=f"git worktree repair {shlex.quote(str(root))}",
                )


def run_git(
    *arguments: str | Path,
    cwd: Path,
    check: bool = True,
    stdin: str = "",
    index: Path | None = None,
    scratch: dict[str, str] | None = None,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """
    Run git with *arguments* in *cwd*, on the worktree's own index or on the file *index*.

    Args:
        scratch: Variables of `objects_elsewhere`, if git must not write objects into the repository.
        seconds: How long git may take; then it is killed with the programs that it runs, such as hooks and filters.

    Raises:
        GitError: If git is not installed, takes too long, or *check* is on and it does not exit with 0; or if the
            `.git` of a worktree leads to another repository.
    """
    _require_linked(cwd)
    for _ in range(_ATTEMPTS):
        try:
            result = _run(
                ["git", *map(str, arguments)],
                stdin,
                seconds,
                cwd=cwd,
                env=git_environment() | ({"GIT_INDEX_FILE": str(index)} if index else {}) | (scratch or {}),
                # Where we ignore Ctrl-C, git and its hooks must not receive it either. They do not all inherit that:
                # git before 2.35 installs a handler, and git 2.55 runs hooks with the default action.
                start_new_session=signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
            )
        except FileNotFoundError as error:
            what = "git is not installed" if error.filename == "git" else f"directory `{cwd}` does not exist"
            raise GitError(what) from None
        except subprocess.TimeoutExpired:
            raise GitError(f"git {_verb(arguments)} took longer than {seconds:g} s") from None
        if result.returncode == 0 or not _TEMPORARY.search(result.stderr):
            break
        time.sleep(_PAUSE)
    if check and result.returncode != 0:
        said = (result.stderr or result.stdout).strip()
        what = f"git {_verb(arguments)} failed with status {result.returncode}"
        raise GitError(what, why=said, hint=find_cure(said, cwd))
    return result


@contextmanager
def objects_elsewhere(common: Path) -> Iterator[dict[str, str]]:
    """
    Give the variables with which git writes new objects into a directory that is deleted afterwards.

    Args:
        common: The repository's git common directory.
    """
    # C-quoted, because a colon separates paths.
    quoted = '"' + str(common / "objects").replace("\\", r"\\").replace('"', r"\"") + '"'
    with tempfile.TemporaryDirectory(prefix="goldentree-") as folder:
        yield {"GIT_OBJECT_DIRECTORY": folder, "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted}


def _run(command: list[str], text: str, seconds: float | None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Do what `subprocess.run` does, but on a timeout kill git's children as well."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    ) as process:
        try:
            stdout, stderr = process.communicate(os.fsencode(text), seconds)
        except subprocess.TimeoutExpired:
            _kill_with_children(process.pid)
            raise
        except BaseException:
            process.kill()
            raise
    # Not Popen's text mode, which changes the line ends of file names and of files' content.
    said = os.fsdecode(stderr).replace("\r\n", "\n").replace("\r", "\n")
    return subprocess.CompletedProcess(command, process.returncode, os.fsdecode(stdout), said)


def _kill_with_children(pid: int) -> None:
    import psutil

    git = psutil.Process(pid)  # exists until we collect it
    # First, because git starts a hook again whose first answer it does not understand (fsmonitor.c, refresh_fsmonitor).
    git.suspend()
    for process in (*git.children(recursive=True), git):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def transfer(*arguments: str | Path, cwd: Path, report: Callable[[str], None] = lambda _: None, hint: str = "") -> str:
    """
    Run git with *arguments* that make it talk to a remote, and return its stdout. It never asks for a password.

    Args:
        report: Called several times a second with git's last line.
        hint: What to do if it fails.

    Raises:
        GitError: If git fails, for example because the remote cannot be reached, or makes no progress.
    """
    silent = {
        "GIT_ASKPASS": os.environ.get("GIT_ASKPASS", ""),
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
    }
    # Files, not pipes: a connection that ssh keeps open for later (ControlPersist) may hold a pipe open for minutes.
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            ["git", *map(str, arguments)],
            cwd=cwd,
            env={key: value for key, value in git_environment().items() if key != "SSH_ASKPASS"} | silent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            # Without a terminal, ssh cannot ask for a password or about an unknown host either.
            start_new_session=True,
        ) as process,
    ):
        progress, moved = (0, 0.0), time.monotonic()
        try:
            while (status := _wait(process, _REPORT_SECONDS)) is None:
                report(next(reversed(_last_lines(errors)), ""))
                if time.monotonic() - moved > SILENT_SECONDS:
                    what = f"git {_verb(arguments)} has made no progress for {SILENT_SECONDS:g} s"
                    raise GitError(what, why="\n".join(_last_lines(errors)[-_SHOWN:]), hint=hint)
                if (found := _read_progress(process.pid, errors)) != progress:
                    progress, moved = found, time.monotonic()
        except BaseException:
            # TERM, so that git deletes its lock files.
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                if _wait(process, _GRACE_SECONDS) is not None:
                    break
            raise
        if status != 0:
            said = [line for line in _last_lines(errors) if not _PROGRESS.search(line)]
            why = "\n".join(said[-_SHOWN:])
            raise GitError(f"git {_verb(arguments)} failed with status {status}", why=why, hint=hint)
        output.seek(0)
        return os.fsdecode(output.read())


def _read_progress(pid: int, errors: IO[bytes]) -> tuple[int, float]:
    """Return figures that grow while git works: what it has printed, and the CPU time of it and of its children."""
    import psutil

    spent = 0.0
    with suppress(psutil.Error):
        git = psutil.Process(pid)
        for process in (git, *git.children(recursive=True)):
            with suppress(psutil.Error):
                times = process.cpu_times()
                spent += times.user + times.system
    return os.fstat(errors.fileno()).st_size, spent


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the status of *process*, None if it still runs after *seconds*."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _last_lines(file: IO[bytes]) -> list[str]:
    """Return the last lines of *file*, to which another process writes. git ends progress by a carriage return."""
    # Not by `read`, which would move the position at which the other process writes.
    start = max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES)
    text = os.pread(file.fileno(), _TAIL_BYTES, start).decode(errors="replace")
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def read_git(*arguments: str | Path, cwd: Path, seconds: float | None = None) -> str:
    """
    Return git's stdout without the trailing newline.

    Raises:
        GitError: As `run_git`.
    """
    return run_git(*arguments, cwd=cwd, seconds=seconds).stdout.removesuffix("\n")


def git_succeeds(*arguments: str | Path, cwd: Path) -> bool:
    """
    Return git's answer to a yes-or-no question: exit status 0 is yes, 1 is no.

    Raises:
        GitError: On any other status. An error must not be read as "no".
    """
    result = run_git(*arguments, cwd=cwd, check=False)
    if result.returncode not in (0, 1):
        raise GitError(f"git {_verb(arguments)} failed with status {result.returncode}", why=result.stderr.strip())
    return result.returncode == 0


def _verb(arguments: Sequence[str | Path]) -> str:
    """Return git's subcommand. Options before it may have values of the form `key=value`."""
    return next(word for word in map(str, arguments) if not word.startswith("-") and "=" not in word)
