"""A worktree's database: clone, migrate, generate, compare."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from tasks_lib.collections._project import current_project
from tasks_lib.collections._setup import set_up
from tasks_lib.collections._task import Answer, task
from tasks_lib.collections.views.results import CLONE_HELP, UNMASKED, WORKTREE, preview, report, report_pulled
from tasks_lib.collections.views.worktree_status import clone_row, migration_rows
from tasks_lib.output import Narrator, format_age, format_pairs, format_size, format_table
from tasks_lib.program_name import name_program

if TYPE_CHECKING:
    from invoke.context import Context


@task(
    help=CLONE_HELP,
    returns=WORKTREE,
)
def clone(c: Context, fresh: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Clone the golden template as this worktree's database

    A complete clone is kept. The env file and the branch's code stay as they are.
    """
    return set_up(c, fresh=fresh, evict=evict, clone_only=True)


@task(help={"unmasked": UNMASKED}, returns="`{source, database, bytes, tables, rows, masked, parked, seconds}`")
def pull(c: Context, unmasked: bool = False, json: bool = False) -> Answer:
    """
    Replace this worktree's database by PULL_DATABASE_URL's data, masked

    The source is only read. Its schema and data are copied, and the branch's
    migrations run on them. The old database is parked: `worktree.undo` restores it.
    """
    from tasks_lib.worktrees.plans.pull import plan_pull

    narrator = Narrator()
    with plan_pull(current_project(), narrator, unmasked=unmasked) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        planned.run(narrator)
        return report_pulled(planned.subject, narrator)


@task(help=CLONE_HELP, returns="*worktree* and `{parked: {name before: name now}}`")
def reset(c: Context, fresh: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Replace this worktree's databases by fresh ones, and migrate

    Replaces the database and its companions. The old ones are parked:
    `worktree.undo` restores them. If the reset fails, they are restored at once.
    """
    from tasks_lib.worktrees.plans.reset import plan_reset

    project, narrator = current_project(), Narrator()
    with plan_reset(project, narrator, project.clone_options(fresh=fresh, evict_idle=evict)) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        ran = planned.run(narrator)
        slug, parked = planned.subject.removal.slug, planned.subject.parked
        answer = report(project.registry.require(slug), project.repository.current, ran)
    lines = [f"parked as {name}" for name in parked.values()]
    if parked:
        kept = format_age(project.settings.keep_removed.total_seconds())
        lines.append(name_program(f"kept for {kept}; to restore: inv worktree.undo {slug}"))
    return Answer({**answer.data, "parked": parked}, "\n".join([answer.text, *lines]))


@task(reads=True, returns="`[{name, env, database, template, exists, bytes}]`")
def companions(c: Context, json: bool = False) -> Answer:
    """
    List this worktree's companion databases
    """
    from tasks_lib.worktrees.steps.databases import companion_databases

    project = current_project(looks=True)
    found = [(database, database.exists()) for database in companion_databases(project, project.require_record_here())]
    data = [
        {
            "name": database.companion.name,
            "env": database.companion.env,
            "database": database.name,
            "template": database.companion.template,
            "exists": exists,
            "bytes": database.size() if exists else None,
        }
        for database, exists in found
    ]
    if not data:
        return Answer(data, "no companions are configured")
    cells = [
        (
            database.companion.name,
            database.companion.env,
            database.name,
            database.companion.template or "(empty)",
            format_size(database.size()) if exists else name_program("missing: inv worktree.setup"),
        )
        for database, exists in found
    ]
    return Answer(data, format_table(("COMPANION", "KEY", "DATABASE", "TEMPLATE", "SIZE"), cells))


@task(returns="`{command, ran, database}`; `command` is null without a migration tool")
def migrate(c: Context, json: bool = False) -> Answer:
    """
    Apply the branch's pending migrations to this worktree's database

    Refuses if the application would read a DATABASE_URL here that is not this
    worktree's.
    """
    return _run_tool(c, "migrate")


@task(returns="`{command, ran, database}`; `command` is null without a migration tool")
def generate(c: Context, json: bool = False) -> Answer:
    """
    Generate code from this worktree's database

    Refuses if the application would read a DATABASE_URL here that is not this
    worktree's.
    """
    return _run_tool(c, "generate")


@task(
    help={"pgcli": "Open pgcli instead."},
    returns="`{command, database, url}`: what it would run; without `--json` the task runs psql",
)
def psql(c: Context, pgcli: bool = False, json: bool = False) -> Answer:
    """
    Open psql on this worktree's database

    Arguments after `--` go to psql, as in `inv db.psql -- -c 'SELECT 1'`. Opens the
    database that `db.migrate` would change. With --json or -R it only prints the
    command and the database.
    """
    from tasks_lib.worktrees.steps.psql import build_client

    project = current_project()
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    opened = build_client(project, "pgcli" if pgcli else "psql", arguments, os.environ)
    if c.config.run.dry or json:
        data = {"command": opened.command, "database": opened.database, "url": opened.url}
        return Answer(data, f"would run {shlex.join(opened.command)} on {opened.url}")
    return opened.replace_process()


@task(
    reads=True,
    returns=(
        "`{branch, slug, database, url, golden, bytes, tables, clone, toolchain, migrations: {applied, "
        "pending, missing} or null}`"
    ),
)
def status(c: Context, json: bool = False) -> Answer:
    """
    Show this worktree's database and its migrations

    Migrations are applied, pending, or missing: golden has them, this branch lacks
    them.
    """
    import msgspec

    from tasks_lib.worktrees.reports.status import report_database

    project = current_project(looks=True)
    found = report_database(project, os.environ)
    record, migrations = found.record, found.migrations
    drift, tool = (migrations.drift, migrations.toolchain) if migrations else (None, None)
    data: dict[str, Any] = {
        "branch": record.identity.branch,
        "slug": record.slug,
        "database": record.identity.database,
        "url": found.url.masked,
        "golden": record.golden,
        "bytes": found.bytes,
        "tables": found.tables,
        "clone": msgspec.to_builtins(record.clone),
        "toolchain": tool,
        "migrations": drift and {"applied": drift.applied, "pending": drift.pending, "missing": drift.missing},
    }
    rows = [
        ("branch", record.identity.branch),
        ("database", f"{record.identity.database}  ({format_size(found.bytes)}, {found.tables} tables)"),
        ("url", found.url.masked),
        ("golden", record.golden),
    ]
    if record.clone:
        rows.append(clone_row(record.clone))
    return Answer(data, format_pairs(rows + migration_rows(migrations, project.settings.migrate)))


@task(reads=True, returns="`{equal, checks: [{name, golden, clone, equal}], differences: [text]}`")
def verify(c: Context, json: bool = False) -> Answer:
    """
    Compare this worktree's database with the golden template

    Compares tables, rows, sequences, extensions with versions, locale, other
    objects and the migration history. Exits with 1 if anything differs, as it does
    once either database has been used.
    """
    from tasks_lib.worktrees.reports.verify import report_verification

    found = report_verification(current_project(looks=True), os.environ)
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
        format_table(("CHECK", "GOLDEN", "CLONE", ""), cells),
        *(str(difference) for difference in found.differences[:20]),
    ]
    return Answer(data, "\n".join(lines), ok=not found.differences)


@task(
    help={"yes": "Sign them; without it, only list them."},
    returns=(
        "`[{database, role, slug, owner, bytes, outcome, why}]`; without `--yes` the `outcome` is `candidate` or "
        "`kept`, with it `signed` or `kept`"
    ),
)
def sign(c: Context, yes: bool = False, json: bool = False) -> Answer:
    """
    Sign the ownership comments that have no valid proof

    For databases of earlier versions, or after the key in the git directory was lost.
    Any role could have written such a comment: look at each line before `--yes`.
    Only databases with the right owner that the registry knows are signed.
    """
    from tasks_lib.worktrees.plans.sign import sign_candidates
    from tasks_lib.worktrees.reports.unproven import find_unproven

    project = current_project()
    found = find_unproven(project)
    if yes and not c.config.run.dry:
        found = sign_candidates(project, found, Narrator())
    data = [
        {
            "database": row.claim.found.name,
            "role": row.claim.comment.role,
            "slug": row.claim.comment.slug,
            "owner": row.claim.found.owner,
            "bytes": row.claim.bytes,
            "outcome": row.outcome,
            "why": row.why,
        }
        for row in found
    ]
    if not data:
        return Answer(data, "every database that names this repository is provably its own")
    cells = [
        (
            row.claim.found.name,
            row.claim.comment.role,
            row.claim.comment.slug,
            row.claim.found.owner,
            format_size(row.claim.bytes),
            row.outcome,
            "; ".join(row.why.splitlines()),
        )
        for row in found
    ]
    text = format_table(("DATABASE", "ROLE", "SLUG", "OWNER", "SIZE", "OUTCOME", "WHY"), cells)
    if any(row.outcome == "candidate" for row in found):
        text += "\nif all of these candidates are this repository's: inv db.sign --yes"
    return Answer(data, text)


def _run_tool(c: Context, which: str) -> Answer:
    from tasks_lib.worktrees.env.guard import require_own_database
    from tasks_lib.worktrees.steps.toolchain import find_command, format_command, run_tool
    from tasks_lib.worktrees.target import Target

    project, narrator = current_project(), Narrator()
    record = project.require_record_here()
    command = find_command(project, project.repository.current, which)
    if command is None:
        data = {"command": None, "ran": False, "database": record.identity.database}
        return Answer(data, f"nothing to {which}: no tool is detected or configured")
    url = require_own_database(project, record, project.repository.current, os.environ)
    shown = format_command(command)
    if c.config.run.dry:
        return preview([f"{which} {record.identity.database} by {shown}"])
    with narrator.step(f"{which} {record.identity.database} by {shown}"):
        target = Target(project, record, project.repository.current, narrator)
        run_tool(target, which, hint=f"fix it, then run:\ninv db.{which}", url=url)
    return Answer(
        {"command": shown, "ran": True, "database": record.identity.database}, f"{which}d {record.identity.database}"
    )
