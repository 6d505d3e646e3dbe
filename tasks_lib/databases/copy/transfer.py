"""
Run `pg_dump | psql` from one database into another, and compare the two.

The dump's snapshot stays open, so the copy is compared with exactly what was dumped. `pg_dump` starts first: it reads
the catalogs while the empty database is being created.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from tasks_lib.databases.compare import contents, fingerprint
from tasks_lib.databases.copy.stopped import end_if_stopped
from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import CloneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

    from psycopg import Connection

    from tasks_lib.databases.compare.contents import Contents, Difference
    from tasks_lib.databases.copy.restorer import Restorer
    from tasks_lib.databases.server.connection import Server

LOCK_TIMEOUT = "5s"
"""How long to wait for a migration's lock on the source; while pg_dump waits, later sessions wait behind it."""


@dataclass(frozen=True)
class Dump:
    """
    A dump from one database to another.

    Attributes:
        snapshot: The exported snapshot that it reads, from `export_snapshot`.
        options: Options for pg_dump, besides those of every dump.
        extensions: The versions of extensions to restore, by name; pg_dump does not write versions.
        target: The server of the database *temporary*, of the version *target_version*.
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
    """The dumped contents, and the sequences that moved during the dump: no snapshot freezes a sequence."""

    contents: Contents
    moving: set[str] = field(default_factory=set)


def export_snapshot(source: Connection[Any]) -> str:
    """Begin the transaction that a dump reads in, and return its exported snapshot."""
    source.execute(f"{fingerprint.BEGIN}; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
    return str(scalar(source, "SELECT pg_export_snapshot()"))


def read_extensions(source: Connection[Any]) -> dict[str, str]:
    """Return the versions of the database's extensions, by name."""
    return dict(
        source.execute("SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'").fetchall(),
    )


@contextmanager
def dump_and_restore(dump: Dump, source: Connection[Any], create: Callable[[], Restorer | None]) -> Iterator[Sent]:
    """
    Run *dump* during the body, and give what it sends.

    Args:
        source: The session in which `export_snapshot` began a transaction.
        create: Creates the empty database while pg_dump starts; returns who restores, None for our own role.

    Raises:
        CloneError: If either program fails.
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
    """Return the differences between the copy and what was dumped; concurrently run ANALYZE on the copy."""
    with ThreadPoolExecutor(1) as executor:
        analyzing = executor.submit(_analyze, dump.target, dump.temporary)
        with dump.target.connect(dump.temporary) as target, target.transaction():
            arrived = contents.read_contents(target)
        analyzing.result()
    # A sequence that moved during the dump cannot be compared.
    return [
        difference
        for difference in contents.find_differences(sent.contents, arrived)
        if difference.topic != "sequences" or difference.name not in sent.moving
    ]


@contextmanager
def _pipeline(dump: Dump, create: Callable[[], Restorer | None], source: Connection[Any]) -> Iterator[None]:
    """Run `pg_dump | psql` during the body; at its end both must have succeeded."""
    client = binaries.find_clients(source.info.server_version)
    # libpq prefers a service file to these variables; the URL's parameters already include the file's settings.
    inherited = {key: value for key, value in os.environ.items() if key != "PGSERVICE"}
    dumping = {**inherited, **dump.server.environment(dump.database, source.info.server_version), "LC_ALL": "C"}
    # fmt: off
    dump_command = [
        client.program("pg_dump"), "--no-password", "--snapshot", dump.snapshot, "--lock-wait-timeout", LOCK_TIMEOUT,
        "--no-subscriptions", "--no-publications", *dump.options,
    ]
    restore_command = [client.program("psql"), "--no-password", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]
    # fmt: on
    # From 17 on, pg_dump sets `transaction_timeout`, which older servers do not know.
    unknown = client.major >= 17 and not client.matches(dump.target_version)
    children: list[subprocess.Popen[bytes]] = []

    def start(command: list[Any], environment: dict[str, str], **pipes: Any) -> subprocess.Popen[bytes]:
        # In its own process group, so that Ctrl-C reaches only this process, which cleans up.
        children.append(subprocess.Popen(command, env=environment, process_group=0, **pipes))
        return children[-1]

    # Their output goes to files: a full pipe would block them.
    with (
        ThreadPoolExecutor(1) as executor,
        tempfile.TemporaryFile() as dump_log,
        tempfile.TemporaryFile() as restore_log,
    ):
        try:
            sender = start(dump_command, dumping, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=dump_log)
            restorer = create()
            login = restorer.login if restorer else dump.target
            restoring = {**inherited, **login.environment(dump.temporary, dump.target_version), "LC_ALL": "C"}
            # Commits need not wait for the disk, because the one that publishes the database flushes all earlier ones.
            restoring["PGOPTIONS"] += f" {restorer.options if restorer else ''} -c synchronous_commit=off"
            receiver = start(
                restore_command, restoring, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=restore_log
            )
            fix = _HeadFixes(dump.extensions, unknown)
            pumping = executor.submit(_forward, sender.stdout, receiver.stdin, restorer, fix)
            with end_if_stopped(children, {dump.server, dump.target}):
                yield
                pumping.result()
                sender.wait()
                receiver.wait()
        except BaseException:
            for child in children:
                child.kill()
            for child in children:
                child.wait()
            raise
        if sender.returncode or receiver.returncode:
            # If psql exits early, pg_dump gets a broken pipe. Any other failure of pg_dump is the cause.
            broken = receiver.returncode and sender.returncode in (0, -signal.SIGPIPE)
            program, child, log = ("psql", receiver, restore_log) if broken else ("pg_dump", sender, dump_log)
            owner = restorer.owner if restorer else ""
            raise _failure(dump, f"{program} exited with {child.returncode}", _last_lines(log), source, owner)


_ENTRY = re.compile(rb"-- Name: [^;]*; Type: ([A-Z ]+); Schema: [^;]*; Owner: [^;]*\n")
_HEAD = frozenset({b"SCHEMA", b"EXTENSION", b"COLLATION", b"COMMENT"})
_QUOTED = re.compile(rb"'[^']*'|\"[^\"]*\"")


def _forward(dumped: Any, restoring: Any, restorer: Restorer | None, fix: _HeadFixes) -> None:
    """Copy a dump from one pipe to the other; correct its head, which *restorer* restores as our own role."""
    # If psql exits early, its exit status reports that.
    with dumped, suppress(BrokenPipeError), restoring:
        settings, head, rest = _read_head(dumped, fix)
        if restorer is None:
            rest = head + rest
        else:
            restorer.restore_head(settings, head)
        restoring.write(settings + rest)
        restoring.flush()
        # Forward what is available instead of waiting for a full buffer, so that psql and pg_dump work in parallel.
        while some := dumped.read1(1 << 16):
            restoring.write(some)
            restoring.flush()


@dataclass(frozen=True)
class _HeadFixes:
    """
    What to correct in a dump's head.

    Attributes:
        extensions: The versions to restore, by name; pg_dump does not write them, so a restore would upgrade them.
        unknown: Whether to remove `SET transaction_timeout`, because the target server does not know it.
    """

    extensions: dict[str, str]
    unknown: bool

    def apply(self, line: bytes) -> bytes:
        """Return *line* as it is to be restored."""
        if self.unknown and line.startswith(b"SET transaction_timeout"):
            return b""
        created = re.match(rb'CREATE EXTENSION IF NOT EXISTS "?([^" ]+)"? WITH SCHEMA [^;]+(?=;)', line)
        version = self.extensions.get(created[1].decode()) if created else None
        return b"%b VERSION '%b';\n" % (created[0], version.encode()) if created and version else line


def _read_head(dumped: BufferedReader, fix: _HeadFixes) -> tuple[bytes, bytes, bytes]:
    """
    Read a dump's settings, its head, and the line that ends the head.

    The head has the schemas, collations and extensions, with comments. They come before every function and table
    (pg_dump_sort.c), and restoring them runs no code of golden's.
    """
    parts, statement = [b"", b""], b""
    begun = False
    while line := dumped.readline():
        # A line within quotes belongs to a name or a comment, whatever it looks like.
        if not statement and line.startswith(b"--"):
            if line.startswith(b"-- Name: "):
                begun = True
                entry = _ENTRY.fullmatch(line)
                if entry is None or entry[1] not in _HEAD:
                    return parts[0], parts[1], line
            parts[begun] += line
            continue
        statement += line
        if not re.search(rb"['\"]", _QUOTED.sub(b"", statement)):
            parts[begun] += fix.apply(statement)
            statement = b""
    return parts[0], parts[1], statement


def _analyze(server: Server, temporary: str) -> None:
    """
    Run ANALYZE on the tables, because pg_dump does not copy statistics; those of the catalogs come from template0.

    Without statistics, PostgreSQL would choose bad plans for the clone's first queries.
    """
    from psycopg import sql

    with server.connect(temporary) as target:
        tables = target.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'm', 'p')"
        ).fetchall()
        if tables:
            target.execute(sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(sql.SQL(name) for (name,) in tables)))


def _last_lines(log: IO[bytes]) -> str:
    log.seek(0)
    return "\n".join(log.read().decode(errors="replace").strip().splitlines()[-12:])


def _failure(dump: Dump, what: str, said: str, source: Connection[Any], owner: str = "") -> CloneError:
    """Return the error to raise; *owner* is the role that restored, if it was not ours."""
    hint = f"log in as `{owner}`, or use WORKTREE_CLONE_METHOD=template" if owner else ""
    if "lock timeout" in said or "LOCK TABLE" in said:
        said += "".join(f"\n{line}" for line in _lock_holders(source))
        hint = "a migration may be running there; wait for it, then run the same command"
    elif "No space left" in said:
        hint = "free space on the server's disk, then run the same command"
    elif "row-level security" in said:
        hint = "log in as a role with BYPASSRLS, or as a superuser: a copy without those rows would be wrong"
    elif 'extension "' in said and dump.server == dump.target:
        hint = "update the extension in golden (ALTER EXTENSION ... UPDATE), or use WORKTREE_CLONE_METHOD=template"
    return CloneError(f"copying `{dump.database}` failed: {what}", why=said, hint=hint)


def _lock_holders(source: Connection[Any]) -> list[str]:
    """Describe the sessions that lock the source's tables against readers, or wait to do so."""
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
