"""
Build a clone with the first strategy that applies; every one of them is exact.

1. Rename a spare, if its fingerprint is golden's current one.
2. Copy a snapshot with golden's current fingerprint; no login waits for that.
3. Copy golden itself while no session is connected to it.
4. Build a new snapshot and copy it: concurrent callers share the dump that this may take.
5. Copy or dump golden itself, if its fingerprint cannot be read, or if another session holds the turn to build a
   snapshot and makes no progress.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from tasks_lib.databases.clone import snapshot, spares
from tasks_lib.databases.clone.publish import publish
from tasks_lib.databases.compare import fingerprint, freshness
from tasks_lib.databases.compare.fingerprint import UNKNOWN, Fingerprint
from tasks_lib.databases.copy import fill, template
from tasks_lib.databases.copy.result import CloneResult
from tasks_lib.databases.ownership.advisory_lock import LockWaitError
from tasks_lib.databases.ownership.drop import drop_temporary
from tasks_lib.databases.ownership.golden_template import SMALL_BYTES, require_open
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.sessions import await_readers

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.clone.snapshot import Snapshot
    from tasks_lib.databases.compare.freshness import Baseline
    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.source import Source


@dataclass(frozen=True)
class CloneOptions:
    """
    How to build a clone.

    Attributes:
        method: `auto` for the first strategy that applies; `template` or `dump` to copy golden itself that way.
        fresh: Build a new snapshot even if the newest is current.
        evict_idle: End idle sessions on golden rather than dump it.
        max_age: Use a snapshot up to this age without checking whether golden has changed.
    """

    method: str = "auto"
    fresh: bool = False
    evict_idle: bool = False
    max_age: timedelta = timedelta(0)


DEFAULT_OPTIONS = CloneOptions()


@dataclass(frozen=True)
class CloneRequest:
    """
    One clone to build: *database*, to be published with the ownership *comment*.

    Attributes:
        report: Called with a line of text for anything that takes longer than a second.
    """

    source: Source
    connection: Connection[Any]
    golden: Golden
    database: str
    comment: OwnershipComment
    options: CloneOptions
    report: Callable[[str], object]


def build_clone(request: CloneRequest) -> CloneResult:
    """
    Build and publish the clone with the first strategy that applies.

    Raises:
        DatabaseError: If none does.
        psycopg.errors.InvalidCatalogName: If another process has replaced the snapshot; call again.
        psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation: If another process took the name.
    """
    options = request.options
    if options.method != "auto":
        return _copy_golden(request, options.method)
    asked = freshness.read_baseline(request.connection, request.golden.oid)
    found = UNKNOWN
    if not options.fresh:
        result, found = _try_existing(request, asked)
        if result is not None:
            return result
    if not found.digest:
        found = freshness.read_current_fingerprint(request.source, request.golden, asked).found
    if not found.digest and not options.max_age:
        return _copy_golden(request, "dump", f"no snapshot could be proven current: {found.obstacle}")

    def accept(other: Snapshot) -> bool:
        # A snapshot newer than the request is exact, whatever has changed since.
        return other.taken_at >= asked.read_at or (not options.fresh and other.fingerprint == found.digest != "")

    try:
        chosen = snapshot.reuse_or_take(
            request.source, request.connection, request.golden, accept, request.report, evict_idle=options.evict_idle
        )
    except LockWaitError:
        # Neither a stopped process nor a role that takes the turn to be in the way keeps others from their clones.
        request.report(f"copying {request.golden.name} itself, because that session does not let us take a snapshot")
        return _copy_golden(request, "auto")
    if chosen.taken_at < asked.read_at:
        return _copy_snapshot(request, chosen, _reason_current(chosen))
    result = _copy_snapshot(request, chosen, f"snapshot of {chosen.time} was taken just now")
    return replace(result, built_snapshot=True)


def _try_existing(request: CloneRequest, asked: Baseline) -> tuple[CloneResult | None, Fingerprint]:
    """Build the clone without a new snapshot, if possible; also return golden's fingerprint, if it was read."""
    found = UNKNOWN
    known = snapshot.list_snapshots(request.source, request.connection, request.golden)
    if known and asked.read_at - known[0].taken_at <= request.options.max_age:
        reason = f"snapshot of {known[0].time} is younger than WORKTREE_GOLDEN_MAX_AGE"
        return _copy_snapshot(request, known[0], reason), found
    if known:
        result, found = _try_current_snapshot(request, known, asked)
        if result is not None:
            return result, found
    # Sessions have come and gone since the request began, our own that just read golden among them.
    await_readers(request.connection, request.golden.name)
    golden = require_open(request.connection, request.golden.name)
    if fill.template_obstacle(golden) is not None:
        return None, found
    return _try_template(replace(request, golden=golden)), found


def _try_current_snapshot(
    request: CloneRequest, known: list[Snapshot], asked: Baseline
) -> tuple[CloneResult | None, Fingerprint]:
    """Build the clone from a spare or snapshot that is current, if there is one; also return golden's fingerprint."""
    ready = request.source.list_copies(request.connection, "spare", request.golden.oid, usable=True)
    small = request.golden.bytes <= SMALL_BYTES
    if ready or not small or not freshness.looks_unchanged(request.source, request.golden, asked):
        found = freshness.read_current_fingerprint(request.source, request.golden, asked).found
        if spares.take_spare(
            request.source, request.connection, ready, found.digest, request.database, request.comment
        ):
            return CloneResult("spare", "a spare is current", found), found
        current = next((taken for taken in known if taken.fingerprint == found.digest != ""), None)
        return _copy_snapshot(request, current, _reason_current(current)) if current else None, found
    # A small snapshot is copied while golden is being read, because it is probably current.
    with ThreadPoolExecutor(1) as executor, temporary_database(request.source, request.connection) as name:
        reading = executor.submit(freshness.read_current_fingerprint, request.source, request.golden, asked)
        template.copy(request.connection, request.golden, name, snapshot=known[0].name, oid=known[0].oid)
        found = reading.result().found
        if found.digest and found.digest == known[0].fingerprint:
            return _publish(request, name, CloneResult("snapshot", _reason_current(known[0]), found)), found
        drop_temporary(request.connection, name, signer=request.source.signer, golden=request.golden.name)
    return None, found


def _copy_snapshot(request: CloneRequest, taken: Snapshot, reason: str) -> CloneResult:
    with temporary_database(request.source, request.connection) as name:
        template.copy(request.connection, request.golden, name, snapshot=taken.name, oid=taken.oid)
        return _publish(request, name, CloneResult("snapshot", reason, Fingerprint(taken.fingerprint)))


def _try_template(request: CloneRequest) -> CloneResult | None:
    with temporary_database(request.source, request.connection) as name:
        comment = msgspec.structs.replace(request.comment, role="temporary")
        obstacle = fill.copy_by_template(request.source, request.connection, request.golden, name, comment)
        if obstacle is not None:
            return None
        found = UNKNOWN
        if request.golden.bytes <= SMALL_BYTES:
            # Until a session connects to the copy, it has the fingerprint that golden had at copy time.
            found = fingerprint.read_from(request.source.server, name, request.golden.oid)
        return _publish(request, name, CloneResult("template", "no session is connected to golden", found))


def _copy_golden(request: CloneRequest, method: str, reason: str = "configured") -> CloneResult:
    with temporary_database(request.source, request.connection) as name:
        result = fill.copy_golden(
            request.source,
            request.connection,
            request.golden,
            name,
            msgspec.structs.replace(request.comment, role="temporary"),
            method=method,
            reason=reason,
            evict_idle=request.options.evict_idle,
            report=request.report,
        )
        return _publish(request, name, result)


def _publish(request: CloneRequest, name: str, result: CloneResult) -> CloneResult:
    comment = msgspec.structs.replace(request.comment, fingerprint=result.fingerprint.digest)
    warnings = publish(request.connection, request.source.signer, request.golden, name, request.database, comment)
    return replace(result, warnings=tuple(warnings))


def _reason_current(taken: Snapshot) -> str:
    return f"snapshot of {taken.time} is current"
