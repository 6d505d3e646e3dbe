"""
Answers that several tasks give: a plan's preview, and what a worktree has become.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.collections._task import Answer
from tasks_lib.output import pairs, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tasks_lib.steps import Ran
    from tasks_lib.worktrees.registry import Record

CLONE_HELP = {
    "fresh": "Take a new snapshot of golden, whatever is there.",
    "evict": "End idle sessions on golden rather than dump it; refused while one is at work.",
}


def preview(titles: Sequence[str]) -> Answer:
    """Return the answer to a dry run: what would be done."""
    return Answer({"plan": list(titles)}, "\n".join(f"would {title}" for title in titles))


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
            ("database", database if record.clone else f"{database}  (not made: inv worktree.db)"),
            ("port", str(record.port)),
            ("dev url", names.dev_url),
        ]
    )
    return Answer(data, text)
