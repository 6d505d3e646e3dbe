"""
Pulling: another server's data, read-only and masked, takes the place of a worktree's database or of golden.

It is built under a temporary name, closed to everybody but its owner until it is masked; then both
renames happen in one transaction. Whatever fails before that leaves nothing behind.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone import clone, park, snapshot
from tasks_lib.databases.clone.publish import publish_as_golden, replay_settings
from tasks_lib.databases.copy import fill, transfer
from tasks_lib.databases.golden import promote
from tasks_lib.databases.golden.pull_source import check_pull_source
from tasks_lib.databases.golden.pull_target import create_pull_target
from tasks_lib.databases.ownership import comment
from tasks_lib.databases.ownership.golden_template import describe_database, require_golden, require_space
from tasks_lib.databases.ownership.managed import list_managed
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import CloneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.compare.contents import Contents
    from tasks_lib.databases.golden.pull_source import PullSource
    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.url import DatabaseUrl

_FOREIGN = ("--no-owner", "--no-privileges", "--no-tablespaces", "--no-security-labels")
"""What names roles, directories and modules of the other server stays there."""

_PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class Pull:
    """
    One pull, wherever it goes.

    Attributes:
        now: The time, in ISO 8601; what is parked for it has that moment.
        mask: Masks the database at a URL before anyone can connect to it; None to leave it as it is.
        report: Is told what takes long.
        at: Is told how many bytes have arrived, and about how many there will be.
    """

    source: Source
    remote: PullSource
    now: str
    mask: Callable[[DatabaseUrl], object] | None
    report: Callable[[str], object]
    at: Callable[[int, int], object]


@dataclass(frozen=True)
class PullResult:
    """What was pulled: bytes on disk, tables and rows as they came; and what was parked for it, empty for nothing."""

    bytes: int
    tables: int
    rows: int
    parked: str
    seconds: float
    remarks: tuple[str, ...]


def check_pull(pull: Pull) -> None:
    """
    Make sure, before any change, that the data can be pulled.

    Raises:
        ServerError, DatabaseError: As `pull_remote.examine` does.
    """
    with (
        pull.source.server.connect() as here,
        pull.remote.server.connect(pull.remote.database) as there,
    ):
        require_space(here, check_pull_source(pull.remote, there, pull.source, here).described)


def check_golden_replaceable(source: Source, *, evict_idle: bool) -> None:
    """
    Make sure, before any change, that another database can take golden's place, if there is a golden template.

    Raises:
        DatabaseError: If golden is not ours to rename, or in use.
    """
    with source.server.connect() as here:
        if comment.exists(here, source.golden):
            promote.require_renamable(here, require_golden(here, source.golden), evict_idle=evict_idle)


def pull_into_clone(pull: Pull, database: str, *, slug: str) -> PullResult:
    """
    Pull into the clone *database* of the worktree *slug*; the one that was is parked, its settings stay.

    Raises:
        CloneError: If what arrived is not what was sent.
        DatabaseError: If it cannot be made; the old one bears the name then.
    """
    source = pull.source

    def publish(here: Connection[Any], name: str) -> tuple[str, list[str]]:
        mark = source.mark("clone", slug=slug, created=pull.now)
        old = describe_database(here, database)
        with here.transaction():
            _open(here, name)
            replaced = park.publish_and_park_old(
                source.server, here, old, name, database, mark, now=pull.now, report=pull.report
            )
        return replaced.parked, replaced.warnings

    return _pulled(pull, publish)


def pull_into_golden(pull: Pull, *, evict_idle: bool) -> PullResult:
    """
    Pull into the golden template; the one that was is parked, its settings, privileges and comment stay.

    Args:
        evict_idle: End idle sessions on golden.

    Raises:
        CloneError: If what arrived is not what was sent.
        DatabaseError: If it cannot be made, or somebody uses golden; golden is what it was then.
    """
    source = pull.source

    def publish(here: Connection[Any], name: str) -> tuple[str, list[str]]:
        if not comment.exists(here, source.golden):
            with here.transaction():
                _open(here, name)
                publish_as_golden(here, name, source.golden)
            return "", []
        comment.await_readers(here, source.golden)
        golden = require_golden(here, source.golden)
        promote.require_renamable(here, golden, evict_idle=evict_idle)
        with here.transaction():
            _open(here, name)
            warnings = replay_settings(here, golden, name)
            parked = promote.swap_golden(source, here, golden, name, pull.now, evict_idle=evict_idle)
        # They show the golden template that was.
        snapshot.drop_outdated(source, here, None)
        return parked, warnings

    return _pulled(pull, publish)


def is_parked(pull: Pull) -> bool:
    """Whether a database was parked for *pull*: then it has come to its end, whatever happened after that."""
    with pull.source.server.connect() as here:
        return any(one.mark.parked == pull.now for one in list_managed(here, pull.source.repository, sizes=False))


def _open(here: Connection[Any], name: str) -> None:
    """Let everybody connect to *name*, as to any new database; what is replayed after this may override it."""
    from psycopg import sql

    here.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(sql.Identifier(name)))


def _pulled(pull: Pull, publish: Callable[[Connection[Any], str], tuple[str, list[str]]]) -> PullResult:
    started = time.monotonic()
    server = pull.source.server
    clone.drop_abandoned_temporaries(pull.source, pull.report)
    with server.building() as here, temporary_database(pull.source, here) as name:
        sent, remarks = _copy(pull, here, name)
        if pull.mask:
            pull.mask(server.url.with_database(name))
        comment.await_no_sessions(here, name)
        size = scalar(here, "SELECT pg_database_size(%s)", [name])
        parked, warnings = publish(here, name)
    seconds = round(time.monotonic() - started, 3)
    return PullResult(size, len(sent.tables), sent.rows, parked, seconds, (*remarks, *warnings))


def _copy(pull: Pull, here: Connection[Any], name: str) -> tuple[Contents, list[str]]:
    """Make the database *name* and fill it; return what was sent, and what is not as it is there."""
    remote, server = pull.remote, pull.source.server
    with remote.server.connect(remote.database) as there:
        found = check_pull_source(remote, there, pull.source, here)
        require_space(here, found.described)
        remarks, mark = list(found.remarks), pull.source.mark("temporary", created=pull.now)
        dump = transfer.Dump(
            remote.server,
            remote.database,
            transfer.export_snapshot(there),
            _FOREIGN,
            found.extensions,
            server,
            here.info.server_version,
            name,
        )
        with (
            fill.report_size(
                server, name, lambda arrived: pull.at(arrived, found.described.bytes), seconds=_PROGRESS_SECONDS
            ),
            transfer.dump_and_restore(
                dump, there, lambda: remarks.extend(create_pull_target(here, found.described, name, mark))
            ) as sent,
        ):
            pull.report(f"{len(sent.facts.tables)} tables with {sent.facts.rows} rows")
    different = [
        difference
        for difference in transfer.find_differences(dump, sent)
        if difference.golden is not None and found.is_comparable(difference.topic, difference.name)
    ]
    if different:
        raise CloneError(
            f"what arrived is not what `{remote.database}` was",
            why="\n".join(f"{one.topic} `{one.name}`: {one.golden} there, {one.clone} here" for one in different[:10]),
        )
    return sent.facts, remarks
