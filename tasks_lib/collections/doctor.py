"""The doctor: what is wrong here, and what cures it."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, task
from tasks_lib.output import table

if TYPE_CHECKING:
    from invoke.context import Context

_MARKS = {"ok": "✓", "warning": "!", "problem": "✗"}


@task()
def doctor(c: Context, json: bool = False) -> Answer:
    """
    Find what is wrong here, and name the cure

    Looks at git, the env file, the server, the golden template, every worktree
    with its database, and leftovers. Changes nothing. Exit status 1 when there is
    a problem; warnings do not count.
    """
    from tasks_lib.worktrees.reports.doctor import report_findings

    findings = report_findings(current_project())
    data = [
        {"level": one.level, "subject": one.subject, "text": one.text, "cure": one.cure or None} for one in findings
    ]
    cells = [(_MARKS[one.level], one.subject, one.text) for one in findings]
    problems = [one for one in findings if one.level == "problem"]
    cures = [indent(f"{_MARKS[one.level]} {one.subject}: {one.cure}", "  ")[2:] for one in findings if one.cure]
    text = table(("", "SUBJECT", "FOUND"), cells)
    return Answer(data, "\n".join([text, *(["", "cures:", *cures] if cures else [])]), ok=not problems)
