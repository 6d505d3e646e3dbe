"""The golden template: its status, its snapshots, and how to replace it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, task
from tasks_lib.collections.views.results import UNMASKED, preview, report_pulled
from tasks_lib.output import Narrator, format_age, format_pairs, format_size, format_table

if TYPE_CHECKING:
    from invoke.context import Context

    from tasks_lib.databases.golden.status import GoldenStatus

_EVICT = "End idle sessions on golden; refused while a session is busy."


@task(
    reads=True,
    default=True,
    returns=(
        "`{golden, server, owner, bytes, fingerprint, obstacle, sessions, snapshot, changed, spares: {ready, wanted}}`"
    ),
)
def status(c: Context, json: bool = False) -> Answer:
    """
    Show the golden template, its snapshot, and the sessions on it

    If golden has changed since the snapshot was taken, the next clone takes a new
    one.
    """
    from tasks_lib.databases.golden.status import report_golden_status

    project = current_project(looks=True)
    source = project.source()
    found = report_golden_status(source)
    seen, taken = found.freshness, found.snapshot
    data: dict[str, Any] = {
        "golden": source.golden,
        "server": project.server.url.masked,
        "owner": found.owner,
        "bytes": found.bytes,
        "fingerprint": seen.found.digest or None,
        "obstacle": seen.found.obstacle or None,
        "sessions": [
            {
                "pid": session.pid,
                "user": session.user,
                "application": session.application,
                "state": session.state or None,
            }
            for session in found.sessions
        ],
        "snapshot": taken
        and {
            "database": taken.name,
            "taken": taken.taken_at.isoformat(),
            "age_seconds": round(found.age or 0, 1),
            "bytes": found.snapshot_bytes,
            "fingerprint": taken.fingerprint or None,
        },
        "changed": found.changed,
        "spares": {"ready": found.spares, "wanted": project.settings.spares},
    }
    return Answer(data, _format_status(source.golden, project.server.url.masked, found, project.settings.spares))


@task(
    help={
        "fresh": "Take a snapshot even if golden has not changed since the last.",
        "evict": _EVICT,
    },
    returns="`{database, taken, fingerprint, built}`",
)
def refresh(c: Context, fresh: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Take a snapshot of the golden template now

    Clones take one when they need it. Does nothing if the last one is current.
    """
    from tasks_lib.databases.clone import snapshot

    project, narrator = current_project(), Narrator()
    source, title = project.source(), f"take a snapshot of {project.settings.template}"
    if c.config.run.dry:
        return preview([title])
    with narrator.step(title) as remarks:
        taken, built = snapshot.ensure_snapshot(source, narrator.detail, fresh=fresh, evict_idle=evict)
        remarks.append("taken" if built else f"that of {taken.time} is current")
    data = {
        "database": taken.name,
        "taken": taken.taken_at.isoformat(),
        "fingerprint": taken.fingerprint or None,
        "built": built,
    }
    return Answer(data, f"{taken.name}  ({'taken' if built else 'current since'} {taken.time})")


@task(
    help={
        "force": "Replace golden even if it has changed since this worktree's database was cloned.",
        "evict": _EVICT,
    },
    returns="`{golden, from, parked, method}`",
)
def promote(c: Context, force: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Make a copy of this worktree's database the golden template

    The worktree keeps its database. The previous golden template is parked (renamed
    and closed to sessions), so that `golden.undo` can restore it.
    """
    from tasks_lib.databases.golden import promote as promotion
    from tasks_lib.worktrees.removal.removal_record import timestamp

    project, narrator = current_project(), Narrator()
    record = project.require_record_here()
    source, database = project.source(record.golden), record.identity.database
    promotion.check_promotion(source, database, slug=record.slug, force=force, evict_idle=evict)
    title = f"make a copy of {database} the golden template {source.golden}"
    if c.config.run.dry:
        return preview([title, f"park the previous {source.golden}"])
    with narrator.step(title) as remarks:
        made = promotion.promote(
            source,
            database,
            slug=record.slug,
            now=timestamp(),
            evict_idle=evict,
            report=narrator.detail,
        )
        remarks.append(f"by {made.method}")
    for warning in made.warnings:
        narrator.say(f"warning: {warning}")
    text = format_pairs([("golden", f"{source.golden}  (a copy of {database})"), ("parked", made.parked)])
    return Answer({"golden": source.golden, "from": database, "parked": made.parked, "method": made.method}, text)


@task(
    help={"unmasked": UNMASKED, "evict": _EVICT},
    returns="`{source, database, bytes, tables, rows, masked, parked, seconds}`",
)
def pull(c: Context, unmasked: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Replace the golden template by PULL_DATABASE_URL's data, masked

    The source is only read. The copy replaces golden once it is complete; the
    previous golden template is parked, so that `golden.undo` can restore it.
    """
    from tasks_lib.worktrees.plans.pull import plan_pull_golden

    narrator = Narrator()
    planned = plan_pull_golden(current_project(), narrator, unmasked=unmasked, evict_idle=evict)
    if c.config.run.dry:
        return preview(planned.preview())
    planned.run(narrator)
    return report_pulled(planned.subject, narrator)


@task(
    help={
        "into": "Build this golden template instead of the configured one.",
        "only": "Make only this block (docs/how-to/build-golden.md lists them); the blocks it needs must exist.",
        "dry_run": "Print what would be made and change nothing, like `inv -R`.",
        "force": "Build on a server that is not on this machine, or looks like production.",
    },
    returns=(
        "`{golden, created, bytes, schema, blocks: [{block, state: made|there|skipped, made: [text], "
        "reason}]}`; with `--dry-run`, `made` is what would be made, and empty if golden does not exist "
        "yet"
    ),
)
def build(
    c: Context,
    into: str | None = None,
    only: str | None = None,
    dry_run: bool = False,
    force: bool = False,
    json: bool = False,
) -> Answer:
    """
    Build the golden template from nothing, with Loquent's account in it

    The repository's migrations make the schema. What an existing golden template
    lacks is added in one transaction. The main worktree's seed.env configures the
    account: docs/how-to/build-golden.md. Needs the extra: goldentree[loquent].
    """
    from tasks_lib.collections.views.golden_build import report_build
    from tasks_lib.workflows.golden_build import prepare_golden_build

    project, narrator = current_project(), Narrator()
    planned = prepare_golden_build(project, narrator, into=into, only=only, force=force)
    planned.check(pull_url=project.settings.pull_url)
    if dry_run or c.config.run.dry:
        return report_build(planned, planned.dry_run(), dry=True)
    planned.plan().run(narrator)
    return report_build(planned, planned.outcomes)


@task(
    reads=True,
    help={"into": "Look at this golden template instead of the configured one."},
    returns=("`{golden, usable, checks: [{check, state: ok|broken|skipped, found}]}`; exit status 1 unless `usable`"),
)
def verify(c: Context, into: str | None = None, json: bool = False) -> Answer:
    """
    Check that the account in the golden template can be used

    Prints a line for each check: what was found, what is wrong, or why it was
    skipped. Exits with 1 if anything is wrong. Sends nothing to Twilio. Needs the
    extra: goldentree[loquent].
    """
    from tasks_lib.collections.views.golden_build import report_checks
    from tasks_lib.workflows.golden_build import prepare_golden_build

    return report_checks(prepare_golden_build(current_project(looks=True), Narrator(), into=into))


@task(help={"evict": _EVICT}, returns="`{golden, from, parked}`")
def undo(c: Context, evict: bool = False, json: bool = False) -> Answer:
    """
    Restore the golden template that was parked last

    The present one is parked, so a second undo reverts the first.
    """
    from tasks_lib.databases.golden import promote as promotion
    from tasks_lib.errors import DatabaseError
    from tasks_lib.worktrees.removal.removal_record import timestamp

    project, narrator = current_project(), Narrator()
    source = project.source()
    name = next(iter(promotion.list_parked_goldens(source)), None)
    if name is None:
        raise DatabaseError(
            f"no golden template `{source.golden}` is parked",
            why="golden.promote and golden.pull park the previous one",
            hint="to see the present one:\ninv golden.status",
        )
    title = f"make {name} the golden template {source.golden}"
    if c.config.run.dry:
        return preview([title, f"park the present {source.golden}"])
    with narrator.step(title):
        aside = promotion.restore_golden(source, name, now=timestamp(), evict_idle=evict)
    text = format_pairs([("golden", f"{source.golden}  (was {name})"), ("parked", aside)])
    return Answer({"golden": source.golden, "from": name, "parked": aside}, text)


@task(returns="`{dropped: [name], spares: {ready, wanted}}`")
def tidy(c: Context, json: bool = False) -> Answer:
    """
    Drop outdated snapshots and create spares up to WORKTREE_SPARES

    `worktree.create` starts this in the background when it is needed.
    """
    from tasks_lib.databases.clone.cleanup import clean_up

    project, narrator = current_project(), Narrator()
    source, wanted = project.source(), project.settings.spares
    titles = [f"drop the outdated snapshots of {source.golden}", f"keep {wanted} spare clones of it"]
    if c.config.run.dry:
        return preview(titles)
    with narrator.step(" and ".join(titles)):
        done = clean_up(source, wanted, narrator.detail)
    lines = [*(f"dropped {name}" for name in done.dropped), f"spares: {done.spares} ready, {wanted} wanted"]
    return Answer({"dropped": done.dropped, "spares": {"ready": done.spares, "wanted": wanted}}, "\n".join(lines))


def _format_status(golden: str, server: str, found: GoldenStatus, wanted: int) -> str:
    rows = [
        ("golden", f"{golden}  ({format_size(found.bytes)}, owned by {found.owner})"),
        ("server", server),
        ("fingerprint", found.freshness.found.digest[:16] or f"unknown: {found.freshness.found.obstacle}"),
    ]
    if found.snapshot is None:
        rows.append(("snapshot", "none; a clone takes one if golden is in use"))
    else:
        state = {None: "cannot be compared with golden", False: "current", True: "golden has changed since"}
        rows += [
            ("snapshot", f"{found.snapshot.name}  ({format_size(found.snapshot_bytes or 0)})"),
            ("", f"taken {found.snapshot.time}, {format_age(found.age or 0)} ago; {state[found.changed]}"),
        ]
    if wanted or found.spares:
        rows.append(("spares", f"{found.spares} ready, {wanted} wanted"))
    rows.append(("sessions", str(len(found.sessions)) if found.sessions else "none"))
    text = format_pairs(rows)
    if found.sessions:
        cells = [
            (str(session.pid), session.user, session.application or "-", session.state or "?")
            for session in found.sessions
        ]
        text += "\n\n" + format_table(("PID", "USER", "APPLICATION", "STATE"), cells)
    return text
