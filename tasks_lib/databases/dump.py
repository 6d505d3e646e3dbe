"""
Method `dump`: seed 000's `pg_dump | psql`, made safe. It works while others use golden.

The dump is taken under a snapshot that stays open, so that what arrives can be compared with
exactly what was sent. `pg_dump` starts first: it reads golden's catalogs while the empty database
is being made.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from tasks_lib.databases import binaries, facts
from tasks_lib.errors import CloneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

    from tasks_lib.databases.golden import Golden
    from tasks_lib.databases.server import Server

LOCK_TIMEOUT = "5s"
"""How long to queue behind a migration's lock on golden: whoever waits there holds up those who come after."""


def copy(server: Server, golden: Golden, create: Callable[[], None], temporary: str) -> None:
    """
    Dump *golden* into the database *temporary*, which *create* makes from template0.

    Raises:
        CloneError: If either end fails, or what arrived is not what was sent.
    """
    with server.connect(golden.name) as source:
        source.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        source.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        source.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        row = source.execute("SELECT pg_export_snapshot()").fetchone()
        snapshot = row[0] if row else ""
        before = facts.read_sequences(source)
        with _pipeline(server, golden, create, temporary, snapshot, source):
            expected = facts.read(source)
        after = facts.read_sequences(source)
    with server.connect(temporary) as target:
        # pg_dump carries no statistics; without them the first queries would plan blindly.
        target.execute("ANALYZE")
        with target.transaction():
            arrived = facts.read(target)
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
            sql.SQL("TABLESPACE {}").format(sql.Identifier(golden.tablespace)),
            *(sql.SQL(f"{option} {{}}").format(sql.Literal(value)) for option, value in options),
        ]
    )


@contextmanager
def _pipeline(
    server: Server, golden: Golden, create: Callable[[], None], temporary: str, snapshot: str, source: Connection[Any]
) -> Iterator[None]:
    """Run `pg_dump | psql` around the body; at its end both must have succeeded."""
    server_version = source.info.server_version
    client = binaries.client_for(server_version)
    environment = {**os.environ, **server.url.environment(dbname=golden.name), "LC_ALL": "C"}
    # Safe although not waited for: the publishing commit flushes everything before it.
    options = " ".join(filter(None, [server.url.parameters.get("options"), "-c synchronous_commit=off"]))
    # fmt: off
    dumping = [
        str(client.program("pg_dump")), "--snapshot", snapshot, "--lock-wait-timeout", LOCK_TIMEOUT,
        "--no-subscriptions", "--no-publications",
        *([] if _owners_are_ours(source) else ["--no-owner", "--no-privileges"]),
    ]
    restoring = [str(client.program("psql")), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]
    # fmt: on
    rewrite = _header_rewriter(source, exact=client.matches(server_version))
    with _spool() as dump_log, _spool() as restore_log:
        children: list[subprocess.Popen[bytes]] = []

        def start(arguments: list[str], stdin: Any, stdout: Any, stderr: Any, **env: str) -> subprocess.Popen[bytes]:
            child = subprocess.Popen(
                arguments, stdin=stdin, stdout=stdout, stderr=stderr, env={**environment, **env}, process_group=0
            )
            children.append(child)
            return child

        try:
            dump = start(dumping, subprocess.DEVNULL, subprocess.PIPE, dump_log)
            assert dump.stdout is not None  # noqa: S101 - PIPE was asked for
            create()
            into = {"PGDATABASE": temporary, "PGOPTIONS": options}
            if rewrite is None:
                restore = start(restoring, dump.stdout, subprocess.DEVNULL, restore_log, **into)
                dump.stdout.close()  # so that pg_dump notices when psql is gone
                pump = None
            else:
                restore = start(restoring, subprocess.PIPE, subprocess.DEVNULL, restore_log, **into)
                pump = threading.Thread(target=rewrite, args=[dump.stdout, restore.stdin])
                pump.start()
            yield
            statuses = (restore.wait(), dump.wait())
            if pump is not None:
                pump.join()
        except BaseException:
            for child in children:
                child.kill()
            for child in children:
                child.wait()
            raise
        if any(statuses):
            raise _failure(golden, statuses, _last_lines(restore_log), _last_lines(dump_log), source)


def _owners_are_ours(source: Connection[Any]) -> bool:
    """Whether our role may give every object its owner back, so that owners and privileges can be kept."""
    row = source.execute(
        "SELECT bool_and(pg_has_role(owner, 'MEMBER')) FROM ("
        " SELECT relowner AS owner FROM pg_class WHERE oid >= 16384"
        " UNION SELECT proowner FROM pg_proc p WHERE oid >= 16384 AND NOT EXISTS"
        "  (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')"
        " UNION SELECT typowner FROM pg_type t WHERE oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d"
        "  WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype IN ('e', 'i'))"
        " UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'"
        " UNION SELECT defaclrole FROM pg_default_acl) AS owners"
    ).fetchone()
    return bool(row and row[0] is not False)


def _header_rewriter(source: Connection[Any], *, exact: bool) -> Callable[[IO[bytes], IO[bytes]], None] | None:
    """
    Return the pump that corrects the head of a dump on its way, or None where it is right as it is.

    pg_dump names no extension versions, so a restore would upgrade them; and from 17 on it sets
    `transaction_timeout`, which older servers do not know.
    """
    versions = {
        name.encode(): version.encode()
        for name, version in source.execute("SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'")
    }
    if exact and not versions:
        return None

    def pump(dumped: IO[bytes], restoring: IO[bytes]) -> None:
        # psql leaving early is reported by its exit status.
        with dumped, _ignoring_broken_pipe(), restoring:
            for line in dumped:
                extension = re.match(rb'CREATE EXTENSION IF NOT EXISTS "?([^" ]+)"? WITH SCHEMA [^;]+(?=;)', line)
                if extension and extension[1] in versions:
                    version = versions.pop(extension[1])
                    restoring.write(extension[0] + b" VERSION '" + version + b"';\n")
                elif exact or not line.startswith(b"SET transaction_timeout"):
                    restoring.write(line)
                # Extensions come before every table and function (pg_dump_sort.c), so nothing past them is touched.
                if line.startswith((b"CREATE TABLE ", b"COPY ")):
                    break
            shutil.copyfileobj(dumped, restoring, 1 << 20)

    return pump


@contextmanager
def _ignoring_broken_pipe() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        return


@contextmanager
def _spool() -> Iterator[IO[bytes]]:
    """Yield a file for a child's stderr: a pipe that nobody drains would block it."""
    with tempfile.TemporaryFile() as spool:
        yield spool


def _last_lines(log: IO[bytes]) -> str:
    log.seek(0)
    return "\n".join(log.read().decode(errors="replace").strip().splitlines()[-6:])


def _failure(
    golden: Golden, statuses: tuple[int, int], restored: str, dumped: str, source: Connection[Any]
) -> CloneError:
    # When one end fails the other only notices a broken pipe: the first to have said why is the cause.
    restore_status, dump_status = statuses
    program, status, said = (
        ("psql", restore_status, restored)
        if restore_status and (restored or not dump_status)
        else ("pg_dump", dump_status, dumped)
    )
    hint = ""
    if "lock timeout" in said or "canceling statement due to lock" in said:
        said += "".join(f"\n{line}" for line in _lock_holders(source))
        hint = "a migration may be running on golden; wait for it, then run the same command"
    elif "No space left" in said:
        hint = "free space on the server's disk, then run the same command"
    elif "row-level security" in said:
        hint = "clone as the tables' owner or a role with BYPASSRLS: a filtered copy would be a wrong one"
    elif "CREATE EXTENSION" in said or "extension" in said:
        hint = "update the extension in golden (ALTER EXTENSION ... UPDATE), or use WORKTREE_CLONE_METHOD=template"
    return CloneError(f"cloning `{golden.name}` failed: {program} exited with {status}", why=said, hint=hint)


def _lock_holders(source: Connection[Any]) -> list[str]:
    rows = source.execute(
        "SELECT DISTINCT a.pid, coalesce(a.usename::text, '?'), left(a.query, 80) FROM pg_locks l "
        "JOIN pg_stat_activity a ON a.pid = l.pid "
        "WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND l.locktype = 'relation' "
        "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchall()
    return [f"process {pid} ({user}) holds it: {query}" for pid, user, query in rows]
