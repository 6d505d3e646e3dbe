"""
Format the outcome of `golden.build` and `golden.verify`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.collections._task import Answer
from tasks_lib.output import format_first, format_pairs, format_size, format_table
from tasks_lib.program_name import name_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_lib.loquent.account_blocks import Outcome
    from tasks_lib.loquent.golden_build import GoldenBuild

_SHOWN = 4
"""How many new parts of a block are named."""


def report_build(build: GoldenBuild, outcomes: Sequence[Outcome], *, dry: bool = False) -> Answer:
    """Return the outcome of each block, or with *dry* what it would be."""
    from tasks_lib.databases.compare import queries

    golden = build.source.golden
    bytes_ = None if dry else queries.read_size_and_table_count(build.source.server, golden)[0]
    data = {
        "golden": golden,
        "created": not build.exists,
        "bytes": bytes_,
        "schema": build.schema,
        "blocks": [
            {
                "block": outcome.block,
                "state": outcome.state,
                "made": list(outcome.made),
                "reason": outcome.reason or None,
            }
            for outcome in outcomes
        ],
    }
    words = {"made": "would make" if dry else "made", "there": "already there", "skipped": "skipped"}
    cells = [
        (outcome.block, words[outcome.state], outcome.reason or format_first(outcome.made, _SHOWN))
        for outcome in outcomes
    ]
    how = [] if build.exists else ["would be new" if dry else "new"]
    how += [] if bytes_ is None else [format_size(bytes_)]
    facts = [("golden", f"{golden}  ({', '.join(how)})" if how else golden), ("schema", build.schema)]
    return Answer(data, f"{format_table(('BLOCK', 'STATE', 'WHAT'), cells)}\n\n{format_pairs(facts)}")


def report_checks(build: GoldenBuild) -> Answer:
    """
    Return a line for each check of the account, with status 1 unless it is usable.

    Raises:
        GoldenMissingError: If the golden template does not exist.
        DatabaseError: If its schema is not Loquent's.
    """
    findings = build.verify()
    usable = all(finding.state != "broken" for finding in findings)
    data = {
        "golden": build.source.golden,
        "usable": usable,
        "checks": [{"check": finding.title, "state": finding.state, "found": finding.text} for finding in findings],
    }
    marks = {"ok": "✓", "broken": "✗", "skipped": "-"}
    text = format_pairs((f"{marks[finding.state]} {finding.title}", finding.text) for finding in findings)
    hint = "" if usable else name_program("\n\ninv golden.build adds what is missing; it does not change what is wrong")
    return Answer(data, text + hint, ok=usable)
