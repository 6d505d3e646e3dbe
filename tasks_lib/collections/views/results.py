"""
Answers that several tasks give: a plan's preview, and the state of a worktree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.collections._task import Answer
from tasks_lib.collections.views.worktree_table import format_ports
from tasks_lib.git.diff import replace_undecodable
from tasks_lib.output import format_pairs, format_size, format_table
from tasks_lib.program_name import name_program

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tasks_lib.output import Narrator
    from tasks_lib.plan import Ran
    from tasks_lib.worktrees.plans.gc import Collected
    from tasks_lib.worktrees.plans.pull import DatabasePull
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.removal.steps import Removal
    from tasks_lib.worktrees.removal.unseen_files import UnseenFile

CLONE_HELP = {
    "fresh": "Take a new snapshot of golden even if the last one is current.",
    "evict": "End idle sessions on golden instead of dumping it; refused while a session is busy.",
}

WORKTREE = (
    "*worktree*: `{branch, slug, path, base, tracks: {remote, ref} or null, database, port, ports: {NAME: port}, "
    "number, dev_url, clone: {method, seconds, bytes} or null, steps: [{title, seconds}]}`; `base` is the commit at "
    "which the branch was created, and null if it existed"
)

UNMASKED = "Do not mask the data, even if WORKTREE_PULL_MASK is set."


def preview(titles: Sequence[str]) -> Answer:
    """Return the answer to a dry run."""
    return Answer({"plan": list(titles)}, "\n".join(f"would {title}" for title in titles) or "nothing to do")


def report(record: Record, path: Path, ran: Iterable[Ran]) -> Answer:
    """Return the state of the worktree of *record* at *path* after the steps that *ran*."""
    import msgspec

    names, steps = record.identity, list(ran)
    clone = record.clone
    if clone and not any(step.title.startswith("clone ") for step in steps):
        clone = msgspec.structs.replace(clone, method="kept")
    data = {
        "branch": names.branch,
        "slug": names.slug,
        "path": path,
        "base": record.base,
        "tracks": record.tracking and vars(record.tracking),
        "database": names.database,
        "port": record.port,
        "ports": record.ports,
        "number": record.number,
        "dev_url": names.dev_url,
        "clone": clone and {"method": clone.method, "seconds": clone.seconds, "bytes": clone.bytes},
        "steps": [{"title": step.title, "seconds": step.seconds} for step in steps],
    }
    database = names.database
    if clone:
        how = "kept" if clone.method == "kept" else f"{clone.seconds:.2f} s by {clone.method}"
        database += f"  ({format_size(clone.bytes)}, {how})"
    text = format_pairs(
        [
            ("worktree", str(path)),
            ("branch", names.branch),
            ("database", database if record.clone else name_program(f"{database}  (not created: inv worktree.setup)")),
            ("port", format_ports(record)),
            ("address", record.address),
        ]
    )
    return Answer(data, text)


def report_removal(removal: Removal) -> Answer:
    """Return what a removal removed, and how to restore it."""
    record = removal.record
    databases = "pending" if removal.pending else "parked" if removal.parked else "absent"
    data = {
        "path": record.path,
        "branch": record.branch if record.delete_branch else None,
        "commit": record.tip,
        "saved": record.saved if record.saved != record.tip else None,
        "kept": _list_files(removal.unseen.kept),
        "lost": _list_files(removal.unseen.lost),
        "databases": databases,
        "parked": removal.parked,
        "removed": record.removed_at,
    }
    name = record.branch or record.slug
    text = f"{'parked the databases of' if record.only_databases else 'removed'} {name}"
    # After a teardown, exit with 0: a failing hook would block the tool that removes the worktree, and
    # `worktree.gc` finishes later.
    return Answer(
        data,
        name_program(f"{text}\nto restore: inv worktree.undo {name}"),
        ok=record.only_databases or not removal.pending,
    )


def _list_files(files: Sequence[UnseenFile]) -> list[dict[str, Any]]:
    return [{"name": replace_undecodable(file.name), "bytes": file.bytes} for file in files]


def report_collected(collected: Sequence[Collected]) -> Answer:
    """Return what garbage collection found, and the outcome for each."""
    data = [
        {
            "kind": item.orphan.kind,
            "name": item.orphan.name,
            "bytes": item.orphan.bytes,
            "reason": item.orphan.reason,
            "outcome": item.outcome,
            "why": item.why or None,
        }
        for item in collected
    ]
    if not collected:
        return Answer(data, "nothing to delete")
    cells = [
        (
            item.orphan.kind,
            item.orphan.name,
            "-" if item.orphan.bytes is None else format_size(item.orphan.bytes),
            item.outcome,
            item.why or item.orphan.reason,
        )
        for item in collected
    ]
    lines = [format_table(("KIND", "NAME", "SIZE", "OUTCOME", "REASON"), cells)]
    candidates = [item for item in collected if item.outcome == "candidate"]
    if candidates:
        total = format_size(sum(item.orphan.bytes or 0 for item in candidates))
        lines.append(
            name_program(f"\nnothing was changed; inv worktree.gc --yes deletes {len(candidates)} of them, {total}")
        )
    return Answer(data, "\n".join(lines), ok=all(item.outcome != "pending" for item in collected))


def report_pulled(pull: DatabasePull, narrator: Narrator) -> Answer:
    """Return the result of a pull, and print its remarks as warnings."""
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
    text = format_pairs(
        [
            ("source", pull.source),
            ("database", f"{pull.target}  ({found.tables} tables, {found.rows} rows, {format_size(found.bytes)})"),
            ("masked", "yes" if pull.masked else "no"),
            ("parked", found.parked or "nothing"),
        ]
    )
    return Answer(data, text)
