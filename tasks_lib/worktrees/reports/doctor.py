"""
Find leftovers, mismatches and missing pieces, each with the command that fixes it. Changes nothing.

The checks run at the same time. One that fails, or does not end in time, becomes a finding.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tasks_lib import waits
from tasks_lib.errors import GitError, GoldentreeError, machine_errors
from tasks_lib.git.cli import read_git, run_git
from tasks_lib.git.repository import list_worktrees
from tasks_lib.output import format_first
from tasks_lib.program_name import name_program
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.guard import require_no_conflicting_export
from tasks_lib.worktrees.env.variables import (
    choose_main_database,
    find_mentions,
    find_variables_of_main,
    format_cure,
    known_databases,
    read_variables,
)
from tasks_lib.worktrees.removal import checks, removal_record
from tasks_lib.worktrees.reports.incomplete import command_for_worktree, describe_worker, diagnose
from tasks_lib.worktrees.reports.orphans import find_orphans
from tasks_lib.worktrees.reports.unproven import find_unproven
from tasks_lib.worktrees.steps.env_file import env_file_values
from tasks_lib.worktrees.steps.toolchain import find_command, format_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tasks_lib.databases.ownership.managed import ManagedDatabase
    from tasks_lib.git.repository import WorktreeEntry
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

OLDEST_GIT = (2, 32)
"""The first version whose `ls-files --directory --exclude-from` looks into untracked folders (`.worktreeinclude`)."""

LIMIT_SECONDS = 7.0
"""How long all checks may take together; more than a connection to a server that does not answer."""

_PRODUCTION = re.compile(r"\.rds\.amazonaws\.com|\.neon\.tech|\.supabase\.co|\.database\.azure\.com|\bprod(uction)?\b")


Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """
    The result of a check.

    Attributes:
        level: `problem` if something does not work or is in danger, `warning` if it soon may be, or `ok`.
        subject: A worktree's branch, or `git`, `server`, `golden`, ...
        cure: The command that fixes it, or what to do; empty for `ok`.
    """

    level: Level
    subject: str
    text: str
    cure: str = ""


def report_findings(project: Project) -> list[Finding]:
    """Return the findings of every check, in the order in which to fix them; takes at most `LIMIT_SECONDS`."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "git": lambda: _git(project),
        "env file": lambda: _env_file(project),
        "server": lambda: _server(project),
        "golden": lambda: _golden(project),
        "migrations": lambda: _toolchain(project),
        "worktrees": lambda: _worktrees(project),
        "leftovers": lambda: _leftovers(project),
        "proofs": lambda: _proofs(project),
    }
    started = time.monotonic()
    running = {subject: _run_in_background(subject, check) for subject, check in checks.items()}
    _, slow = wait(running.values(), waits.QUIET_SECONDS)
    if slow:
        names = ", ".join(subject for subject, check in running.items() if check in slow)
        waits.say(f"waiting up to {LIMIT_SECONDS:g} s for the checks of {names}")
        wait(slow, started + LIMIT_SECONDS - time.monotonic())
    found: list[Finding] = []
    for subject, check in running.items():
        if not check.done():
            text = f"this check took longer than {LIMIT_SECONDS:g} s"
            found.append(Finding("problem", subject, text, "if nothing above is the cause:\ngit status"))
            continue
        # What several checks run into, such as a server that does not answer, is one problem.
        known = {(finding.text, finding.cure) for finding in found if finding.level == "problem"}
        found += [finding for finding in check.result() if (finding.text, finding.cure) not in known]
    return found


def _run_in_background(subject: str, check: Callable[[], Iterator[Finding]]) -> Future[list[Finding]]:
    """Run *check* in a thread which, unlike an executor's, does not keep this process alive."""
    result: Future[list[Finding]] = Future()

    def run() -> None:
        try:
            result.set_result(list(_guarded(subject, check)))
        except BaseException as error:  # noqa: BLE001 - carried to the calling thread, which raises it
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result


def _guarded(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        with machine_errors():
            yield from check()
    except GoldentreeError as error:
        yield Finding("problem", subject, "; ".join(filter(None, [error.what, error.why])), error.hint)


def _git(project: Project) -> Iterator[Finding]:
    shown = read_git("version", cwd=project.repository.main).removeprefix("git version ")
    found = tuple(int(part) for part in re.findall(r"\d+", shown)[:2])
    oldest = ".".join(map(str, OLDEST_GIT))
    if not found:
        yield Finding("warning", "git", f"`{shown}` has no version number", f"make sure that it is {oldest} or later")
    elif found < OLDEST_GIT:
        yield Finding("problem", "git", f"git {shown} is older than {oldest}", f"install git {oldest} or later")
    else:
        yield Finding("ok", "git", f"{shown}, new branches start from `{project.base_branch}`")


def _env_file(project: Project) -> Iterator[Finding]:
    from tasks_lib.databases.server.url import DatabaseUrl

    require_no_conflicting_export(project, os.environ)
    main = project.repository.main
    present = [name for name in project.settings.style_files if (main / name).exists()]
    tracked = [name for name in present if read_git("ls-files", name, cwd=main)]
    url = project.settings.database_url
    if tracked and url and DatabaseUrl.parse(url).parameters.get("password"):
        files = " ".join(tracked)
        yield Finding(
            "warning", "env file", f"git tracks {files}", f"git rm --cached {files}, and name it in .gitignore"
        )
    if url and _PRODUCTION.search(DatabaseUrl.parse(url).masked):
        yield Finding(
            "warning",
            "env file",
            f"DATABASE_URL looks like production: {DatabaseUrl.parse(url).masked}",
            "let DATABASE_URL name a local server; production goes into PULL_DATABASE_URL",
        )
    for reference in [] if url else choose_main_database(find_variables_of_main(project))[:1]:
        if reference.host and reference.port != project.server.url.parameter("port"):
            yield Finding(
                "problem",
                "env file",
                f"`{reference.key}` in `{reference.source}` names a server, but clones are made on the embedded one",
                "name the server in .env: DATABASE_URL=postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            )
    yield Finding("ok", "env file", ", ".join(present) or "none; defaults and the environment are used")


def _server(project: Project) -> Iterator[Finding]:
    from tasks_lib.databases.compare import queries

    with project.server.connect() as connection:
        project.server.require_direct(connection)
        version = connection.info.parameter_status("server_version") or "?"
    yield Finding("ok", "server", f"PostgreSQL {version.split()[0]} at {project.server.url.masked}")
    if queries.find_client_directory(project.server) is None:
        yield Finding(
            "problem",
            "server",
            f"pg_dump and psql of PostgreSQL {version.split('.')[0]} are not installed on this machine",
            f"install postgresql-client-{version.split('.')[0]}",
        )


def _golden(project: Project) -> Iterator[Finding]:
    from tasks_lib.databases.clone.preflight import require_copyable
    from tasks_lib.databases.ownership.golden_template import require_golden, require_space
    from tasks_lib.output import format_size

    names = [
        project.settings.template,
        *(companion.template for companion in project.settings.companions if companion.template),
    ]
    with project.server.connect() as connection:
        for name in dict.fromkeys(names):
            golden = require_golden(connection, name)
            require_space(connection, golden)
            source = replace(project.source(), golden=name)
            require_copyable(source, connection, golden, method=project.settings.clone_method)
            yield Finding("ok", "golden", f"{name}, {format_size(golden.bytes)}")


def _toolchain(project: Project) -> Iterator[Finding]:
    found = find_command(project, project.repository.main, "migrate")
    if found is None and project.settings.migrate is not None:
        yield Finding("ok", "migrations", "none, as the settings say")
    elif found is None:
        yield Finding(
            "warning",
            "migrations",
            "no migration tool was detected or configured",
            "set WORKTREE_MIGRATE to a tool or command, or to none",
        )
    else:
        yield Finding("ok", "migrations", format_command(found))


def _worktrees(project: Project) -> Iterator[Finding]:
    from tasks_lib.databases.ownership.managed import list_managed

    _, *listed = list_worktrees(project.repository.main)
    records, paths = project.registry.records(), project.registry.paths()
    with project.server.connect() as connection:
        databases = {database.name: database for database in list_managed(connection, project.registry.signer)}
    known = {paths.get(record.slug) for record in records}
    for row in listed:
        if row.path not in known:
            yield _unknown(project, row)
    holders: dict[int, str] = {}
    for record in records:
        branch = record.identity.branch
        for port in sorted(record.all_ports & holders.keys()):
            yield Finding(
                "problem",
                branch,
                f"port {port} is also leased to {holders[port]}",
                f"inv worktree.remove {record.slug} && inv worktree.undo {record.slug}",
            )
        holders |= dict.fromkeys(record.all_ports, branch)
        findings = list(_guarded(branch, lambda record=record: _record(project, record, paths, databases)))  # type: ignore[misc]
        yield from findings or [Finding("ok", branch, f"{record.identity.database}, port {record.port}")]


def _unknown(project: Project, row: WorktreeEntry) -> Finding:
    branch = row.branch or str(row.path)
    if row.path.exists():
        return Finding(
            "warning",
            branch,
            f"{row.path} has no database of its own",
            command_for_worktree(project, row.path, "setup"),
        )
    if row.locked is not None:
        return Finding("ok", branch, f"{row.path} is locked, perhaps on a volume that is not mounted")
    return Finding(
        "warning",
        branch,
        f"git lists {row.path}, which is gone",
        f"git worktree remove {shlex.quote(str(row.path))}, or mount its volume",
    )


def _record(
    project: Project, record: Record, paths: dict[str, Path], databases: dict[str, ManagedDatabase]
) -> Iterator[Finding]:
    branch, path = record.identity.branch, paths.get(record.slug)
    problem = diagnose(project, record, path)
    if worker := project.registry.find_worker(record.slug):
        # Whatever is wrong now may be right when it has ended.
        cure = problem.cure if problem else ""
        yield Finding("warning" if cure else "ok", branch, describe_worker(record, worker), cure)
        return
    if path is None or not path.exists() or record.state == "removing":
        yield from [Finding("problem", branch, problem.what, problem.cure)] if problem else []
        return
    checks.require_same_worktree(project, path)
    try:
        run_git("rev-parse", "--git-dir", cwd=path)
    except GitError as error:
        cure = (
            f"git worktree repair {shlex.quote(str(path))}, or move it elsewhere and run: "
            f"inv worktree.remove {record.slug} --keep-branch"
        )
        yield Finding("problem", branch, f"git cannot work in {path}: {error.why}", cure)
        return
    if problem:
        level: Level = "warning" if record.state == "ready" else "problem"
        yield Finding(level, branch, problem.what, problem.cure)
        return
    setup = command_for_worktree(project, path, "setup")
    yield from _env_files(project, record, path, setup)
    database = databases.get(record.identity.database)
    if database is None or (database.comment.slug, database.comment.role) != (record.slug, "clone"):
        yield Finding(
            "problem",
            branch,
            f"its database `{record.identity.database}` is missing, or not provably its own",
            setup,
        )
    elif database.invalid:
        yield Finding("problem", branch, f"an interrupted DROP has destroyed `{database.name}`", setup)


def _env_files(project: Project, record: Record, path: Path, setup: str) -> Iterator[Finding]:
    branch = record.identity.branch
    for name, wanted in env_file_values(project, record, path).items():
        found = dotenv_file.load(path / name)
        wrong = [key for key, value in wanted.items() if found.get(key) != value]
        if not found:
            yield Finding("problem", branch, f"it has no {name}", setup)
        elif wrong:
            yield Finding("problem", branch, f"{name} has other values of {', '.join(wrong)}", setup)
    known = known_databases(project, record, project.server.url)
    environ = os.environ if path == project.repository.current else {}
    for variable in read_variables(project, path, known, environ):
        if variable.wrong:
            yield Finding("problem", branch, variable.describe(), format_cure([variable], renamed_by=setup))
    for place, what in find_mentions(path, known):
        yield Finding("warning", branch, f"{place} names {what}", "let it read a variable, such as DATABASE_URL")


def _proofs(project: Project) -> Iterator[Finding]:
    """Report databases that only claim to be this repository's."""
    found = find_unproven(project)
    candidates = [unsigned.claim.found.name for unsigned in found if unsigned.outcome == "candidate"]
    if candidates:
        text = f"{len(candidates)} databases have comments without a valid proof: {format_first(candidates, 3)}"
        yield Finding("problem", "proofs", text, "inv db.sign")
    for unsigned in found:
        if unsigned.outcome == "kept":
            database, why = unsigned.claim.found, "; ".join(unsigned.why.splitlines())
            text = f"database `{database.name}` is not provably this repository's: {why}"
            yield Finding("warning", "proofs", text, database.cure)


def _leftovers(project: Project) -> Iterator[Finding]:
    orphans = [orphan for orphan in find_orphans(project) if orphan.action is not None and orphan.kind != "worktree"]
    if orphans:
        names = format_first([f"{orphan.kind} {orphan.name}" for orphan in orphans], 3)
        yield Finding("warning", "leftovers", f"{len(orphans)}: {names}", "inv worktree.gc --yes")
    undoable = removal_record.list_removals(project)
    if undoable:
        yield Finding("ok", "removed", name_program(f"{len(undoable)} can be undone: inv worktree.undo"))
