"""
Pull another server's data, read-only and masked, into a worktree's database or into golden.

The data is restored under a temporary name, and only the owner can connect to it until it is masked. Then both
databases are renamed in one transaction. A failure before that leaves nothing behind.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone import clone, park, snapshot
from tasks_lib.databases.clone.publish import copy_settings, publish_as_golden
from tasks_lib.databases.copy import fill, transfer
from tasks_lib.databases.copy.restorer import format_warning
from tasks_lib.databases.golden import promote
from tasks_lib.databases.golden.pull_source import check_pull_source
from tasks_lib.databases.golden.pull_target import create_pull_target
from tasks_lib.databases.ownership.golden_template import describe_database, require_golden, require_space
from tasks_lib.databases.ownership.managed import list_managed
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import database_exists
from tasks_lib.databases.server.sessions import await_no_sessions, await_readers
from tasks_lib.errors import CloneError
from tasks_lib.output import format_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.compare.contents import Contents
    from tasks_lib.databases.golden.pull_source import PullSource
    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.url import DatabaseUrl

_OPTIONS = ("--no-owner", "--no-privileges", "--no-tablespaces", "--no-security-labels")
"""Leave out roles, directories and modules, which are specific to the other server."""

_PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class Pull:
    """
    The parameters of a pull, whether into a clone or into golden.

    Attributes:
        now: The current time in ISO 8601; the database that the pull replaces is parked at this instant.
        mask: Masks the database at a URL before any other role can connect to it; None to leave it as it is.
        report: Called with a line of text for anything that takes longer than a second.
        on_progress: Called with the bytes that have arrived, and about how many there will be.
    """

    source: Source
    remote: PullSource
    now: str
    mask: Callable[[DatabaseUrl], object] | None
    report: Callable[[str], object]
    on_progress: Callable[[int, int], object]


@dataclass(frozen=True)
class PullResult:
    """
    The result of a pull.

    Attributes:
        bytes: Size on disk, masked.
        tables: The number of pulled tables.
        rows: The number of pulled rows, before masking.
        parked: The new name of the database that was replaced, empty for none.
        seconds: How long it took.
        remarks: Differences from the other server's database.
    """

    bytes: int
    tables: int
    rows: int
    parked: str
    seconds: float
    remarks: tuple[str, ...]


def check_pull(pull: Pull) -> None:
    """
    Check that the data can be pulled; nothing is changed.

    Raises:
        ServerError, OwnershipError, DatabaseError: As `check_pull_source`.
        DatabaseError: If the disk has no space for it.
    """
    with (
        pull.source.server.connect() as target,
        pull.remote.server.connect(pull.remote.database) as remote,
    ):
        require_space(target, check_pull_source(pull.remote, remote, pull.source, target).described)


def check_golden_replaceable(source: Source, *, evict_idle: bool) -> None:
    """
    Check that another database can replace golden, if there is a golden template; nothing is changed.

    Raises:
        DatabaseError: If our role may not rename golden, or it is in use.
    """
    with source.server.connect() as target:
        if database_exists(target, source.golden):
            promote.require_renamable(target, require_golden(target, source.golden), evict_idle=evict_idle)


def pull_into_clone(pull: Pull, database: str, *, slug: str) -> PullResult:
    """
    Pull into the clone *database* of the worktree *slug*; the previous one is parked, and its settings are copied.

    Raises:
        CloneError: If the copy differs from the original.
        DatabaseError: If it cannot be made; the previous clone keeps its name.
    """
    source = pull.source

    def publish(target: Connection[Any], name: str) -> tuple[str, list[str]]:
        comment = source.new_comment("clone", slug=slug)
        old = describe_database(target, database)
        with target.transaction():
            _allow_everyone(target, name)
            replaced = park.publish_and_park_old(
                source, target, old, name, database, comment, removed_at=pull.now, report=pull.report
            )
        return replaced.parked, replaced.warnings

    return _pull(pull, publish)


def pull_into_golden(pull: Pull, *, evict_idle: bool) -> PullResult:
    """
    Pull into the golden template; the previous one is parked, and its settings, privileges and comment are copied.

    Args:
        evict_idle: End idle sessions on golden.

    Raises:
        CloneError: If the copy differs from the original.
        DatabaseError: If it cannot be made, or golden is in use; golden is unchanged.
    """
    source = pull.source

    def publish(target: Connection[Any], name: str) -> tuple[str, list[str]]:
        if not database_exists(target, source.golden):
            with target.transaction():
                _allow_everyone(target, name)
                publish_as_golden(target, name, source.golden)
            return "", []
        await_readers(target, source.golden)
        golden = require_golden(target, source.golden)
        promote.require_renamable(target, golden, evict_idle=evict_idle)
        with target.transaction():
            _allow_everyone(target, name)
            warnings = copy_settings(target, golden, name)
            parked = promote.swap_golden(source, target, golden, name, pull.now, evict_idle=evict_idle)
        # All snapshots are of the previous golden template.
        snapshot.drop_outdated(source, target, None)
        return parked, warnings

    return _pull(pull, publish)


def is_parked(pull: Pull) -> bool:
    """Whether a database was parked for *pull*: then the pull was complete, even if a later error is reported."""
    with pull.source.server.connect() as target:
        managed = list_managed(target, pull.source.signer, sizes=False)
    return any(database.comment.removed_at == pull.now for database in managed)


def _allow_everyone(target: Connection[Any], name: str) -> None:
    """Let every role connect to *name*, as to any new database; settings that are copied later may override this."""
    from psycopg import sql

    target.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(sql.Identifier(name)))


def _pull(pull: Pull, publish: Callable[[Connection[Any], str], tuple[str, list[str]]]) -> PullResult:
    started = time.monotonic()
    server = pull.source.server
    clone.drop_abandoned_temporaries(pull.source, pull.report)
    with server.connect_for_ddl() as target, temporary_database(pull.source, target) as name:
        contents, remarks = _copy(pull, target, name)
        if pull.mask:
            pull.mask(server.url.with_database(name))
        await_no_sessions(target, name)
        size = scalar(target, "SELECT pg_database_size(%s)", [name])
        parked, warnings = publish(target, name)
    seconds = round(time.monotonic() - started, 3)
    return PullResult(size, len(contents.tables), contents.rows, parked, seconds, (*remarks, *warnings))


def _copy(pull: Pull, target: Connection[Any], name: str) -> tuple[Contents, list[str]]:
    """Create the database *name* and fill it; return what was sent, and remarks on differences."""
    server = pull.source.server
    with pull.remote.server.connect(pull.remote.database) as remote:
        checked = check_pull_source(pull.remote, remote, pull.source, target)
        require_space(target, checked.described)
        remarks, comment = list(checked.remarks), pull.source.new_comment("temporary")
        dump = transfer.Dump(
            pull.remote.server,
            pull.remote.database,
            transfer.export_snapshot(remote),
            _OPTIONS,
            checked.extensions,
            server,
            target.info.server_version,
            name,
        )

        def create() -> None:
            remarks.extend(create_pull_target(target, pull.source.signer, checked.described, name, comment))

        def on_progress(arrived: int) -> None:
            pull.on_progress(arrived, checked.described.bytes)

        with (
            fill.report_size(server, name, on_progress, seconds=_PROGRESS_SECONDS),
            transfer.dump_and_restore(dump, remote, create) as sent,
        ):
            pull.report(f"{len(sent.contents.tables)} tables with {sent.contents.rows} rows")
            pull.report(format_warning(pull.remote.database, target.info.user, "a pull belongs to that role"))
    different = [
        f"{difference.topic} `{difference.name}`: {difference.golden} there, {difference.clone} here"
        for difference in transfer.find_differences(dump, sent)
        if difference.golden is not None and checked.is_comparable(difference.topic, difference.name)
    ]
    if different:
        raise CloneError(f"the copy differs from `{pull.remote.database}`", why=format_first(different, 10))
    return sent.contents, remarks
