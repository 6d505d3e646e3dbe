"""A worktree's database: clone, migrate, generate, compare."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tasks_lib.collections._project import project
from tasks_lib.collections._report import CLONE_HELP, preview, report
from tasks_lib.collections._task import Answer, task
from tasks_lib.output import Narrator, pairs, size, table

if TYPE_CHECKING:
    from invoke.context import Context


@task(help=CLONE_HELP)
def clone(c: Context, fresh: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Clone the golden template as this worktree's database

    A complete clone is kept. Neither the env file nor the branch's code is touched.
    """
    from tasks_lib.worktrees.setup import setup  # noqa: PLC0415 - `inv --list` stays fast

    here, narrator = project(), Narrator()
    with setup(here, narrator, here.wish(fresh=fresh, evict=evict), clone_only=True) as planned:
        if c.config.run.dry:
            return preview(planned.plan.preview())
        ran = planned.plan.run(narrator)
        return report(here.registry.require(planned.record.slug), here.repository.here, ran)


@task()
def migrate(c: Context, json: bool = False) -> Answer:
    """
    Apply the branch's pending migrations to this worktree's database

    Refuses when DATABASE_URL, as the application here would read it, is not this worktree's.
    """
    return _run_tool(c, "migrate")


@task()
def generate(c: Context, json: bool = False) -> Answer:
    """
    Generate code from this worktree's database

    Refuses when DATABASE_URL, as the application here would read it, is not this worktree's.
    """
    return _run_tool(c, "generate")


@task()
def status(c: Context, json: bool = False) -> Answer:
    """
    Show this worktree's database and its migrations

    Applied, pending, and missing: those that golden has and this branch lacks.
    """
    from tasks_lib.worktrees.status import status as examine  # noqa: PLC0415 - as in `clone`

    found = examine(project(), os.environ)
    data: dict[str, Any] = {
        "branch": found.branch,
        "slug": found.slug,
        "database": found.database,
        "url": found.url,
        "golden": found.golden,
        "bytes": found.bytes,
        "tables": found.tables,
        "clone": found.clone,
        "toolchain": found.toolchain,
        "migrations": found.drift
        and {"applied": found.drift.applied, "pending": found.drift.pending, "missing": found.drift.missing},
    }
    rows = [
        ("branch", found.branch),
        ("database", f"{found.database}  ({size(found.bytes)}, {found.tables} tables)"),
        ("url", found.url),
        ("golden", found.golden),
    ]
    if found.clone:
        rows.append(("cloned", f"{found.clone['created']} by {found.clone['method']}"))
    if found.drift is None:
        rows.append(("migrations", "no migration tool detected"))
    else:
        drift = found.drift
        rows.append(("migrations", f"{len(drift.applied)} applied, {len(drift.pending)} pending  ({found.toolchain})"))
        rows += [("  pending", name) for name in drift.pending]
        rows += [("  missing", f"{name}  (golden has it, this branch lacks it)") for name in drift.missing]
    return Answer(data, pairs(rows))


@task()
def verify(c: Context, json: bool = False) -> Answer:
    """
    Compare this worktree's database with the golden template

    Tables, rows, sequences, extensions with versions, locale, other objects and the migration
    ledger. Exit status 1 when anything differs, as it does once either of them is used.
    """
    from tasks_lib.worktrees.status import verify as examine  # noqa: PLC0415 - as in `clone`

    found = examine(project(), os.environ)
    data = {
        "equal": not found.differences,
        "checks": [
            {"name": check.name, "golden": check.golden, "clone": check.clone, "equal": check.equal}
            for check in found.checks
        ],
        "differences": [str(difference) for difference in found.differences],
    }
    cells = [
        (check.name, str(check.golden), str(check.clone), "equal" if check.equal else "differs")
        for check in found.checks
    ]
    lines = [
        table(("CHECK", "GOLDEN", "CLONE", ""), cells),
        *(str(difference) for difference in found.differences[:20]),
    ]
    return Answer(data, "\n".join(lines), ok=not found.differences)


def _run_tool(c: Context, which: str) -> Answer:
    from tasks_lib.worktrees import guard, tools  # noqa: PLC0415 - as in `clone`

    here, narrator = project(), Narrator()
    record = here.require_record_here()
    command = tools.command(here, here.repository.here, which)
    if command is None:
        return Answer({"command": None, "ran": False}, f"nothing to {which}: no tool is detected or configured")
    url = guard.require_own_database(here, record, here.repository.here, os.environ)
    shown = tools.shown(command)
    if c.config.run.dry:
        return preview([f"{which} {record.identity.database} by {shown}"])
    with narrator.step(f"{which} {record.identity.database} by {shown}"):
        tools.run_tool(here, url, here.repository.here, which, narrator, hint=f"mend it, then: inv db.{which}")
    return Answer(
        {"command": shown, "ran": True, "database": record.identity.database}, f"{which}d {record.identity.database}"
    )
