"""
Answers that several tasks give: a plan's preview, and what a worktree has become.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.collections._task import Answer
from tasks_lib.output import pairs, size, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tasks_lib.output import Narrator
    from tasks_lib.plan import Ran
    from tasks_lib.worktrees.plans.gc import Collected
    from tasks_lib.worktrees.plans.pull import DatabasePull
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.removal.steps import Removal

CLONE_HELP = {
    "fresh": "Take a new snapshot of golden, whatever is there.",
    "evict": "End idle sessions on golden rather than dump it; refused while one is at work.",
}

UNMASKED = "Leave the data as it is, whatever WORKTREE_PULL_MASK says."


def preview(titles: Sequence[str]) -> Answer:
    """Return the answer to a dry run: what would be done."""
    return Answer({"plan": list(titles)}, "\n".join(f"would {title}" for title in titles) or "nothing to do")


def report(record: Record, path: Path, ran: Iterable[Ran]) -> Answer:
    """Return what the worktree of *record* at *path* has become by the steps that *ran*."""
    names, steps = record.identity, list(ran)
    clone = record.clone and {key: record.clone[key] for key in ("method", "seconds", "bytes")}
    if clone and not any(step.title.startswith("clone ") for step in steps):
        clone = {**clone, "method": "kept"}
    data = {
        "branch": names.branch,
        "slug": names.slug,
        "path": path,
        "database": names.database,
        "port": record.port,
        "dev_url": names.dev_url,
        "clone": clone,
        "steps": [{"title": step.title, "seconds": step.seconds} for step in steps],
    }
    database = names.database
    if clone:
        how = "kept" if clone["method"] == "kept" else f"{clone['seconds']:.2f} s by {clone['method']}"
        database += f"  ({size(clone['bytes'])}, {how})"
    text = pairs(
        [
            ("worktree", str(path)),
            ("branch", names.branch),
            ("database", database if record.clone else f"{database}  (not made: inv worktree.setup)"),
            ("port", str(record.port)),
            ("dev url", names.dev_url),
        ]
    )
    return Answer(data, text)


def removed(removal: Removal) -> Answer:
    """Return what a removal took away, and how to have it back."""
    record = removal.record
    databases = "pending" if removal.pending else "parked" if removal.parked else "absent"
    data = {
        "path": record.path,
        "branch": record.branch if record.delete_branch else None,
        "commit": record.tip,
        "saved": record.saved if record.saved != record.tip else None,
        "databases": databases,
        "parked": removal.parked,
        "removed": record.removed_at,
    }
    name = record.branch or record.slug
    text = f"{'parked the databases of' if record.only_databases else 'removed'} {name}"
    # A hook that fails would block whoever removes the worktree; `gc` finishes what is pending.
    return Answer(
        data, f"{text}\nto have it back: inv worktree.undo {name}", ok=record.only_databases or not removal.pending
    )


def swept(collected: Sequence[Collected]) -> Answer:
    """Return what garbage collection found, and what became of it."""
    data = [
        {
            "kind": one.orphan.kind,
            "name": one.orphan.name,
            "bytes": one.orphan.bytes,
            "reason": one.orphan.reason,
            "outcome": one.outcome,
            "why": one.why or None,
        }
        for one in collected
    ]
    if not collected:
        return Answer(data, "nothing to sweep")
    cells = [
        (
            one.orphan.kind,
            one.orphan.name,
            "-" if one.orphan.bytes is None else size(one.orphan.bytes),
            one.outcome,
            one.why or one.orphan.reason,
        )
        for one in collected
    ]
    lines = [table(("KIND", "NAME", "SIZE", "OUTCOME", "REASON"), cells)]
    candidates = [one for one in collected if one.outcome == "candidate"]
    if candidates:
        total = size(sum(one.orphan.bytes or 0 for one in candidates))
        lines.append(f"\nnothing was changed; inv worktree.gc --yes sweeps {len(candidates)} of them, {total}")
    return Answer(data, "\n".join(lines), ok=all(one.outcome != "pending" for one in collected))


def report_pulled(pull: DatabasePull, narrator: Narrator) -> Answer:
    """Return what a pull has done; remarks on it are narration."""
    found = pull.pulled
    for remark in found.remarks:
        narrator.say(f"warning: {remark}")
    data = {
        "source": pull.source,
        "database": pull.target,
        "bytes": found.bytes,
        "tables": found.tables,
        "rows": found.rows,
        "masked": pull.masked,
        "parked": found.parked or None,
        "seconds": found.seconds,
    }
    text = pairs(
        [
            ("source", pull.source),
            ("database", f"{pull.target}  ({found.tables} tables, {found.rows} rows, {size(found.bytes)})"),
            ("masked", "yes" if pull.masked else "no"),
            ("parked", found.parked or "nothing"),
        ]
    )
    return Answer(data, text)
