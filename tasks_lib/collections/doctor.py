"""Find problems and name the command that fixes each."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, task
from tasks_lib.output import format_table
from tasks_lib.program_name import name_program

if TYPE_CHECKING:
    from invoke.context import Context

_MARKS = {"ok": "✓", "warning": "!", "problem": "✗"}


@task(reads=True, returns="`[{level, subject, text, cure}]`; `level` is `ok`, `warning` or `problem`")
def doctor(c: Context, json: bool = False) -> Answer:
    """
    Find problems and name the command that fixes each

    Checks git, the env file, the server, the golden template, every worktree with
    its database, and leftovers. Changes nothing. Exits with 1 if there is a
    problem; warnings do not count.
    """
    from tasks_lib.worktrees.reports.doctor import report_findings

    findings = report_findings(current_project(looks=True))
    data = [
        {
            "level": finding.level,
            "subject": finding.subject,
            "text": finding.text,
            "cure": name_program(finding.cure) or None,
        }
        for finding in findings
    ]
    cells = [(_MARKS[finding.level], finding.subject, finding.text) for finding in findings]
    problems = [finding for finding in findings if finding.level == "problem"]
    cures = [
        indent(f"{_MARKS[finding.level]} {finding.subject}: {name_program(finding.cure)}", "  ")[2:]
        for finding in findings
        if finding.cure
    ]
    text = format_table(("", "SUBJECT", "FOUND"), cells)
    return Answer(data, "\n".join([text, *(["", "cures:", *cures] if cures else [])]), ok=not problems)
