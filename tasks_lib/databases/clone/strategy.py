"""
The ladder: ways to a clone, the quickest first, every one of them exact.

1. A spare of the fingerprint that golden has now: it only has to be renamed.
2. A snapshot of that fingerprint, copied; nobody's login waits for that.
3. Golden itself, copied while nobody is connected to it.
4. A new snapshot, copied: the dump it may take is made once for all who wait.
5. A dump of golden, where its fingerprint cannot be known.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone import snapshot, spares
from tasks_lib.databases.clone.publish import publish
from tasks_lib.databases.compare import fingerprint, freshness
from tasks_lib.databases.compare.fingerprint import UNKNOWN
from tasks_lib.databases.copy import fill, template
from tasks_lib.databases.ownership import comment
from tasks_lib.databases.ownership.golden_template import SMALL_BYTES, require_golden
from tasks_lib.databases.ownership.temporaries import temporary_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.clone.snapshot import Snapshot
    from tasks_lib.databases.compare.fingerprint import Fingerprint
    from tasks_lib.databases.compare.freshness import Baseline
    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.source import Source


@dataclass(frozen=True)
class CloneOptions:
    """
    How a clone is wanted.

    Attributes:
        method: `auto` for the ladder; `template` or `dump` to copy golden itself that way.
        fresh: Build a new snapshot whatever is there.
        evict_idle: End idle sessions on golden rather than dump it.
        max_age: How old a snapshot may be that is taken without looking whether golden has changed.
    """

    method: str = "auto"
    fresh: bool = False
    evict_idle: bool = False
    max_age: timedelta = timedelta(0)


DEFAULT_OPTIONS = CloneOptions()


@dataclass(frozen=True)
class Made:
    """
    A published clone: by which rung, why by that one, and of which fingerprint of golden's, where known.

    Attributes:
        method: `spare`, `snapshot`, `template` or `dump`.
        warnings: What of golden's settings could not be repeated.
        outdated: Whether a snapshot was taken for it, which leaves the one before to be swept.
    """

    method: str
    reason: str
    fingerprint: str
    warnings: list[str] = field(default_factory=list)
    outdated: bool = False


@dataclass(frozen=True)
class CloneRequest:
    """
    One clone to make: *database*, to be published with *mark*.

    Attributes:
        report: Is told what takes long.
    """

    source: Source
    connection: Connection[Any]
    golden: Golden
    database: str
    mark: OwnershipComment
    options: CloneOptions
    report: Callable[[str], object]


def build_clone(job: CloneRequest) -> Made:
    """
    Make the clone by the first rung that holds.

    Raises:
        DatabaseError: If none does.
        psycopg.errors.InvalidCatalogName: If another process replaced the snapshot meanwhile; climb again.
        psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation: If somebody else took the name.
    """
    options = job.options
    if options.method != "auto":
        return _from_golden(job, options.method)
    asked = freshness.read_baseline(job.connection, job.golden.oid)
    found = UNKNOWN
    if not options.fresh:
        made, found = _of_what_is_there(job, asked)
        if made is not None:
            return made
    if not found.digest:
        found = freshness.read_current_fingerprint(job.source, job.golden, asked).found
    if not found.digest and not options.max_age:
        made = _from_golden(job, "dump")
        return replace(made, reason=f"no snapshot could be proven current: {found.obstacle}")

    def accept(other: Snapshot) -> bool:
        # What is newer than the request is exact, whatever has happened since.
        return other.taken >= asked.moment or (not options.fresh and other.fingerprint == found.digest != "")

    taken = snapshot.reuse_or_take(
        job.source, job.connection, job.golden, accept, job.report, evict_idle=options.evict_idle
    )
    if taken.taken < asked.moment:
        return _of_snapshot(job, taken, _current(taken))
    made = _of_snapshot(job, taken, f"snapshot of {taken.time} was taken just now")
    return replace(made, outdated=True)


def _of_what_is_there(job: CloneRequest, asked: Baseline) -> tuple[Made | None, Fingerprint]:
    """Make the clone without a new snapshot, if that can be; return golden's fingerprint too, where it was read."""
    found = UNKNOWN
    known = snapshot.list_snapshots(job.source, job.connection, job.golden)
    if known and asked.moment - known[0].taken <= job.options.max_age:
        reason = f"snapshot of {known[0].time} is younger than WORKTREE_GOLDEN_MAX_AGE"
        return _of_snapshot(job, known[0], reason), found
    if known:
        made, found = _of_current(job, known, asked)
        if made is not None:
            return made, found
    # Sessions come and go, our own that has just read golden among them.
    comment.await_readers(job.connection, job.golden.name)
    golden = require_golden(job.connection, job.golden.name)
    if fill.template_obstacle(golden):
        return None, found
    return _directly(replace(job, golden=golden)), found


def _of_current(job: CloneRequest, known: list[Snapshot], asked: Baseline) -> tuple[Made | None, Fingerprint]:
    """Clone the snapshot that golden has not changed since, if one of *known* is; return golden's fingerprint too."""
    ready = job.source.made(job.connection, "spare", job.golden.oid, usable=True)
    small = job.golden.bytes <= SMALL_BYTES
    if ready or not small or not freshness.looks_unchanged(job.source, job.golden, asked):
        seen = freshness.read_current_fingerprint(job.source, job.golden, asked)
        if spares.take_spare(job.connection, ready, seen.found.digest, job.database, job.mark):
            return Made("spare", "a spare is current", seen.found.digest), seen.found
        current = next((one for one in known if one.fingerprint == seen.found.digest != ""), None)
        return _of_snapshot(job, current, _current(current)) if current else None, seen.found
    # A small one is copied while golden is being read, in the hope that it is current.
    with ThreadPoolExecutor(1) as beside, temporary_database(job.source, job.connection) as name:
        examining = beside.submit(freshness.read_current_fingerprint, job.source, job.golden, asked)
        template.copy(job.connection, job.golden, name, snapshot=known[0].name)
        found = examining.result().found
        if found.digest and found.digest == known[0].fingerprint:
            return _published(job, name, "snapshot", _current(known[0]), found.digest), found
        comment.drop_temporary(job.connection, name, repository=job.source.repository)
    return None, found


def _of_snapshot(job: CloneRequest, taken: Snapshot, reason: str) -> Made:
    with temporary_database(job.source, job.connection) as name:
        template.copy(job.connection, job.golden, name, snapshot=taken.name)
        return _published(job, name, "snapshot", reason, taken.fingerprint)


def _directly(job: CloneRequest) -> Made | None:
    with temporary_database(job.source, job.connection) as name:
        mark = replace(job.mark, role="temporary")
        if fill.copy_by_template(job.source.server, job.connection, job.golden, name, mark):
            return None
        found = UNKNOWN
        if job.golden.bytes <= SMALL_BYTES:
            # Only for the record: what golden was then can be told from the copy as long as nobody has used it.
            found = fingerprint.read_from(job.source.server, name, job.golden.oid)
        return _published(job, name, "template", "nobody is connected to golden", found.digest)


def _from_golden(job: CloneRequest, method: str) -> Made:
    with temporary_database(job.source, job.connection) as name:
        mark = replace(job.mark, role="temporary")
        filled = fill.copy_golden(
            job.source.server, job.connection, job.golden, name, mark,
            method=method, evict_idle=job.options.evict_idle, report=job.report,
        )  # fmt: skip
        return _published(job, name, filled.method, filled.reason, filled.found.digest)


def _published(job: CloneRequest, name: str, method: str, reason: str, digest: str) -> Made:
    mark = replace(job.mark, fingerprint=digest)
    return Made(method, reason, digest, publish(job.connection, job.golden, name, job.database, mark))


def _current(taken: Snapshot) -> str:
    return f"snapshot of {taken.time} is current"
