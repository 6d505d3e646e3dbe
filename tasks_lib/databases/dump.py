"""
Method `dump`: seed 000's `pg_dump | psql`, made safe. It works while others use golden.

The dump is taken under a snapshot that stays open, so that what arrives can be compared with
exactly what was sent. `pg_dump` starts first: it reads golden's catalogs while the empty database
is being made.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from tasks_lib.databases import binaries, facts, fingerprint
from tasks_lib.databases.golden import giving
from tasks_lib.databases.server import scalar
from tasks_lib.errors import CloneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

    from psycopg import Connection

    from tasks_lib.databases.fingerprint import Fingerprint
    from tasks_lib.databases.golden import Golden
    from tasks_lib.databases.server import Server

LOCK_TIMEOUT = "5s"
"""How long to queue behind a migration's lock on golden: whoever waits there holds up those who come after."""


def copy(server: Server, golden: Golden, create: Callable[[], None], temporary: str) -> Fingerprint:
    """
    Dump *golden* into the database *temporary*, which *create* makes from template0.

    Returns the fingerprint that golden had at the moment that was dumped.

    Raises:
        CloneError: If either end fails, or what arrived is not what was sent.
        DatabaseError: If golden cannot be read.
    """
    from psycopg import errors  # noqa: PLC0415 - only where a database is copied

    with server.connect(golden.name) as source:
        source.execute(
            f"{fingerprint.BEGIN}; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode(),
        )
        snapshot = scalar(source, "SELECT pg_export_snapshot()")
        try:
            before = facts.read_sequences(source)
            with _pipeline(server, golden, create, temporary, snapshot, source):
                expected, found = facts.read(source), fingerprint.read(source, golden.oid)
            after = facts.read_sequences(source)
        except errors.LockNotAvailable as error:
            raise _failure(golden, "a lock on it was not released in time", str(error), source) from None
    with ThreadPoolExecutor(1) as beside:
        analyzing = beside.submit(_analyze, server, temporary)
        with server.connect(temporary) as target, target.transaction():
            target.execute("SET LOCAL statement_timeout = 0")
            arrived = facts.read(target)
        analyzing.result()
    # A sequence moves outside every snapshot; one that moved while we looked cannot be compared.
    moving = {name for name in before if before[name] != after.get(name)}
    different = [
        difference
        for difference in facts.differences(expected, arrived)
        if difference.topic != "sequences" or difference.name not in moving
    ]
    if different:
        raise CloneError(
            f"the clone is not what `{golden.name}` was",
            why="\n".join(str(difference) for difference in different[:10]),
            hint="WORKTREE_CLONE_METHOD=template copies everything, while nobody is connected to golden",
        )
    # One of chance, which golden will never have: nobody can tell at which moment the sequence was dumped.
    return replace(found, digest=secrets.token_hex(32)) if moving and found.digest else found


def empty_database_options(golden: Golden, server_version: int) -> Any:
    """Return the options of CREATE DATABASE for an empty database with golden's encoding and locale."""
    from psycopg import sql  # noqa: PLC0415 - only where a database is made

    options: list[tuple[str, str]] = [
        ("ENCODING", golden.encoding),
        ("LC_COLLATE", golden.collate),
        ("LC_CTYPE", golden.ctype),
    ]
    if server_version >= 150_000:
        options.append(("LOCALE_PROVIDER", {"c": "libc", "i": "icu", "b": "builtin"}[golden.provider]))
        if golden.locale is not None:
            options.append(("BUILTIN_LOCALE" if golden.provider == "b" else "ICU_LOCALE", golden.locale))
        if golden.icu_rules is not None:
            options.append(("ICU_RULES", golden.icu_rules))
    return sql.SQL(" ").join(
        [
            # template1 may hold objects of somebody's own, or another locale.
            sql.SQL("TEMPLATE template0"),
            # Tables keep their owners only where our role may give them away; so does the database.
            *([sql.SQL("OWNER {}").format(sql.Identifier(golden.owner))] if golden.ours else []),
            *([sql.SQL("TABLESPACE {}").format(sql.Identifier(golden.tablespace))] if golden.tablespace else []),
            *(sql.SQL(f"{option} {{}}").format(sql.Literal(value)) for option, value in options),
        ]
    )


@contextmanager
def _pipeline(
    server: Server, golden: Golden, create: Callable[[], None], temporary: str, snapshot: str, source: Connection[Any]
) -> Iterator[None]:
    """Run `pg_dump | psql` around the body; at its end both must have succeeded."""
    client = binaries.client_for(source.info.server_version)
    # A service file would come before these variables; the URL's parameters have what it says.
    inherited = {key: value for key, value in os.environ.items() if key != "PGSERVICE"}
    dumping = {**inherited, **server.url.environment(dbname=golden.name), "LC_ALL": "C"}
    # Safe although not waited for: the publishing commit flushes everything before it.
    options = f"{dumping.get('PGOPTIONS', '')} -c synchronous_commit=off"
    restoring = {**dumping, "PGDATABASE": temporary, "PGOPTIONS": options}
    # fmt: off
    dump_command = [
        client.program("pg_dump"), "--no-password", "--snapshot", snapshot, "--lock-wait-timeout", LOCK_TIMEOUT,
        "--no-subscriptions", "--no-publications",
        *([] if _owners_are_ours(source) else ["--no-owner", "--no-privileges"]),
    ]
    restore_command = [client.program("psql"), "--no-password", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]
    # fmt: on
    pump = _header_rewriter(source, exact=client.matches(source.info.server_version))
    children: list[subprocess.Popen[bytes]] = []

    def start(command: list[Any], environment: dict[str, str], **pipes: Any) -> subprocess.Popen[bytes]:
        # In a process group of its own: Ctrl-C is ours to handle.
        children.append(subprocess.Popen(command, env=environment, process_group=0, **pipes))
        return children[-1]

    # What they say goes to files: a pipe that nobody drains would block them.
    with tempfile.TemporaryFile() as dump_log, tempfile.TemporaryFile() as restore_log:
        try:
            dump = start(dump_command, dumping, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=dump_log)
            create()
            restore = start(
                restore_command, restoring, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=restore_log
            )
            pumping = threading.Thread(target=pump, args=[dump.stdout, restore.stdin])
            pumping.start()
            yield
            pumping.join()
            dump.wait()
            restore.wait()
        except BaseException:
            for child in children:
                child.kill()
            for child in children:
                child.wait()
            raise
        if dump.returncode or restore.returncode:
            # When psql leaves early, pg_dump meets a broken pipe; whatever else ends pg_dump is the cause.
            broken = restore.returncode and dump.returncode in (0, -signal.SIGPIPE)
            program, child, log = ("psql", restore, restore_log) if broken else ("pg_dump", dump, dump_log)
            raise _failure(golden, f"{program} exited with {child.returncode}", _last_lines(log), source)


def _owners_are_ours(source: Connection[Any]) -> bool:
    """Whether our role may give every object its owner back, so that owners and privileges can be kept."""
    query = """
        SELECT coalesce(bool_and(pg_has_role(owner, %s)), true)
        FROM (
            SELECT 'pg_class'::regclass AS class, oid, relowner AS owner
            FROM pg_class WHERE relkind NOT IN ('i', 'I', 't') AND relpersistence <> 't'
            UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
            UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_type
            UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace WHERE nspname !~ '^pg_'
            UNION ALL SELECT 'pg_default_acl'::regclass, oid, defaclrole FROM pg_default_acl
        ) AS objects
        -- Below are PostgreSQL's own; what belongs to an extension or to another object is not dumped by itself.
        WHERE oid >= 16384 AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = objects.oid AND d.deptype IN ('e', 'i')
        )"""
    return bool(scalar(source, query, [giving(source)]))


def _header_rewriter(source: Connection[Any], *, exact: bool) -> Callable[[BufferedReader, IO[bytes]], None]:
    """
    Return a function that carries a dump from one end to the other and corrects its head on the way.

    pg_dump names no extension versions, so a restore would upgrade them; and from 17 on it sets
    `transaction_timeout`, which older servers do not know (*exact* is false then).
    """
    versions = {
        name.encode(): version.encode()
        for name, version in source.execute("SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'")
    }

    def pump(dumped: BufferedReader, restoring: IO[bytes]) -> None:
        unknown = not exact
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
    from psycopg import sql  # noqa: PLC0415 - only where a database is copied

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


def _failure(golden: Golden, what: str, said: str, source: Connection[Any]) -> CloneError:
    hint = ""
    if "lock timeout" in said or "LOCK TABLE" in said:
        said += "".join(f"\n{line}" for line in _lock_holders(source))
        hint = "a migration may be running on golden; wait for it, then run the same command"
    elif "No space left" in said:
        hint = "free space on the server's disk, then run the same command"
    elif "row-level security" in said:
        hint = "log in as a role with BYPASSRLS, or as a superuser: a filtered copy would be a wrong one"
    elif 'extension "' in said:
        hint = "update the extension in golden (ALTER EXTENSION ... UPDATE), or use WORKTREE_CLONE_METHOD=template"
    return CloneError(f"cloning `{golden.name}` failed: {what}", why=said, hint=hint)


def _lock_holders(source: Connection[Any]) -> list[str]:
    """Return who keeps readers out of golden's tables, those included who queue for it ahead of us."""
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
