"""
`pg_dump | psql` from one database into another, under a snapshot that stays open.

So what arrives can be compared with exactly what was sent. `pg_dump` starts first: it reads the
source's catalogs while the empty database is being made.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from tasks_lib.databases.compare import contents, fingerprint
from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import CloneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

    from psycopg import Connection

    from tasks_lib.databases.compare.contents import Contents, Difference
    from tasks_lib.databases.server.connection import Server

LOCK_TIMEOUT = "5s"
"""How long to queue behind a migration's lock on the source: whoever waits there holds up those who come after."""


@dataclass(frozen=True)
class Dump:
    """
    A dump on its way from one database to another.

    Attributes:
        snapshot: The exported snapshot that it shows, from `begin`.
        options: pg_dump's, beside those that every dump has.
        extensions: The versions to restore by name; pg_dump names none.
        target: The server that *temporary* is on, of the version *target_version*.
    """

    server: Server
    database: str
    snapshot: str
    options: tuple[str, ...]
    extensions: dict[str, str]
    target: Server
    target_version: int
    temporary: str


@dataclass
class Sent:
    """What was sent, and the sequences that moved meanwhile: they move outside every snapshot."""

    facts: Contents
    moving: set[str] = field(default_factory=set)


def export_snapshot(source: Connection[Any]) -> str:
    """Begin the transaction that a dump is taken under, and return its exported snapshot."""
    source.execute(f"{fingerprint.BEGIN}; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
    return str(scalar(source, "SELECT pg_export_snapshot()"))


def read_extensions(source: Connection[Any]) -> dict[str, str]:
    """Return the versions of the database's extensions by name."""
    return dict(
        source.execute("SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'").fetchall(),
    )


@contextmanager
def dump_and_restore(dump: Dump, source: Connection[Any], create: Callable[[], None]) -> Iterator[Sent]:
    """
    Run *dump* around the body, and give what it sends; *create* makes the empty database meanwhile.

    Args:
        source: The session whose transaction `begin` began.

    Raises:
        CloneError: If either end fails.
        DatabaseError: If the source cannot be read.
    """
    from psycopg import errors

    try:
        before = contents.read_sequences(source)
        with _pipeline(dump, create, source):
            sent = Sent(contents.read_contents(source))
            yield sent
        after = contents.read_sequences(source)
    except errors.LockNotAvailable as error:
        raise _failure(dump, "a lock on it was not released in time", str(error), source) from None
    sent.moving = {name for name in before if before[name] != after.get(name)}


def find_differences(dump: Dump, sent: Sent) -> list[Difference]:
    """Return everything in which the database that arrived is not what was sent; gather its statistics beside."""
    with ThreadPoolExecutor(1) as beside:
        analyzing = beside.submit(_analyze, dump.target, dump.temporary)
        with dump.target.connect(dump.temporary) as target, target.transaction():
            target.execute("SET LOCAL statement_timeout = 0")
            arrived = contents.read_contents(target)
        analyzing.result()
    # One that moved while we looked cannot be compared.
    return [
        difference
        for difference in contents.find_differences(sent.facts, arrived)
        if difference.topic != "sequences" or difference.name not in sent.moving
    ]


@contextmanager
def _pipeline(dump: Dump, create: Callable[[], None], source: Connection[Any]) -> Iterator[None]:
    """Run `pg_dump | psql` around the body; at its end both must have succeeded."""
    client = binaries.find_clients(source.info.server_version)
    # A service file would come before these variables; the URL's parameters have what it says.
    inherited = {key: value for key, value in os.environ.items() if key != "PGSERVICE"}
    dumping = {**inherited, **dump.server.url.environment(dbname=dump.database), "LC_ALL": "C"}
    # Safe although not waited for: the publishing commit flushes everything before it.
    restoring = {**inherited, **dump.target.url.environment(dbname=dump.temporary), "LC_ALL": "C"}
    restoring["PGOPTIONS"] = f"{restoring.get('PGOPTIONS', '')} -c synchronous_commit=off"
    # fmt: off
    dump_command = [
        client.program("pg_dump"), "--no-password", "--snapshot", dump.snapshot, "--lock-wait-timeout", LOCK_TIMEOUT,
        "--no-subscriptions", "--no-publications", *dump.options,
    ]
    restore_command = [client.program("psql"), "--no-password", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]
    # fmt: on
    # From 17 on, pg_dump sets `transaction_timeout`, which older servers do not know.
    pump = _header_rewriter(dump.extensions, unknown=client.major >= 17 and not client.matches(dump.target_version))
    children: list[subprocess.Popen[bytes]] = []

    def start(command: list[Any], environment: dict[str, str], **pipes: Any) -> subprocess.Popen[bytes]:
        # In a process group of its own: Ctrl-C is ours to handle.
        children.append(subprocess.Popen(command, env=environment, process_group=0, **pipes))
        return children[-1]

    # What they print goes to files: a pipe that nobody drains would block them.
    with tempfile.TemporaryFile() as dump_log, tempfile.TemporaryFile() as restore_log:
        try:
            sender = start(dump_command, dumping, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=dump_log)
            create()
            receiver = start(
                restore_command, restoring, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=restore_log
            )
            pumping = threading.Thread(target=pump, args=[sender.stdout, receiver.stdin])
            pumping.start()
            yield
            pumping.join()
            sender.wait()
            receiver.wait()
        except BaseException:
            for child in children:
                child.kill()
            for child in children:
                child.wait()
            raise
        if sender.returncode or receiver.returncode:
            # When psql leaves early, pg_dump meets a broken pipe; whatever else ends pg_dump is the cause.
            broken = receiver.returncode and sender.returncode in (0, -signal.SIGPIPE)
            program, child, log = ("psql", receiver, restore_log) if broken else ("pg_dump", sender, dump_log)
            raise _failure(dump, f"{program} exited with {child.returncode}", _last_lines(log), source)


def _header_rewriter(extensions: dict[str, str], *, unknown: bool) -> Callable[[BufferedReader, IO[bytes]], None]:
    """
    Return a function that carries a dump from one end to the other and corrects its head on the way.

    pg_dump names no extension versions, so a restore would upgrade them.

    Args:
        extensions: The versions to restore, by name.
        unknown: Whether pg_dump sets `transaction_timeout`, which the target's server does not know.
    """
    versions = {name.encode(): version.encode() for name, version in extensions.items()}

    def pump(dumped: BufferedReader, restoring: IO[bytes]) -> None:
        nonlocal unknown
        # psql leaving early is reported by its exit status.
        with dumped, suppress(BrokenPipeError), restoring:
            # Both come before every function and table (pg_dump_sort.c), whose text is nobody's to touch.
            while (versions or unknown) and (line := dumped.readline()):
                extension = re.match(rb'CREATE EXTENSION IF NOT EXISTS "?([^" ]+)"? WITH SCHEMA [^;]+(?=;)', line)
                if unknown and line.startswith(b"SET transaction_timeout"):
                    unknown = False
                elif extension and extension[1] in versions:
                    restoring.write(extension[0] + b" VERSION '" + versions.pop(extension[1]) + b"';\n")
                else:
                    restoring.write(line)
            restoring.flush()
            # Whatever is there at once, not a full buffer: psql works while pg_dump goes on.
            while some := dumped.read1(1 << 16):
                restoring.write(some)
                restoring.flush()

    return pump


def _analyze(server: Server, temporary: str) -> None:
    """
    Gather the statistics that pg_dump does not carry; the catalogs' come from template0.

    Without them the clone's first queries would be planned blindly.
    """
    from psycopg import sql

    with server.connect(temporary) as target:
        target.execute("SET statement_timeout = 0")
        tables = target.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'm', 'p')"
        ).fetchall()
        if tables:
            target.execute(sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(sql.SQL(name) for (name,) in tables)))


def _last_lines(log: IO[bytes]) -> str:
    log.seek(0)
    return "\n".join(log.read().decode(errors="replace").strip().splitlines()[-12:])


def _failure(dump: Dump, what: str, said: str, source: Connection[Any]) -> CloneError:
    hint = ""
    if "lock timeout" in said or "LOCK TABLE" in said:
        said += "".join(f"\n{line}" for line in _lock_holders(source))
        hint = "a migration may be running there; wait for it, then run the same command"
    elif "No space left" in said:
        hint = "free space on the server's disk, then run the same command"
    elif "row-level security" in said:
        hint = "log in as a role with BYPASSRLS, or as a superuser: a filtered copy would be a wrong one"
    elif 'extension "' in said and dump.server == dump.target:
        hint = "update the extension in golden (ALTER EXTENSION ... UPDATE), or use WORKTREE_CLONE_METHOD=template"
    return CloneError(f"copying `{dump.database}` failed: {what}", why=said, hint=hint)


def _lock_holders(source: Connection[Any]) -> list[str]:
    """Return who keeps readers out of the source's tables, those included who queue for it ahead of us."""
    source.execute("ROLLBACK")
    rows = source.execute(
        "SELECT a.pid, coalesce(a.usename, '?'), l.relation::regclass::text, l.granted, left(a.query, 80) "
        "FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
        "WHERE l.mode = 'AccessExclusiveLock' AND l.locktype = 'relation' AND a.datname = current_database() "
        "ORDER BY l.granted DESC LIMIT 5"
    ).fetchall()
    return [
        f"process {pid} ({user}) {'locks' if granted else 'waits to lock'} `{table}`: {query}"
        for pid, user, table, granted, query in rows
    ]
