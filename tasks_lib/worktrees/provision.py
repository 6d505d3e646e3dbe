"""
The steps that give a worktree its database: record, clone, point, ready; `tools` has those between the last two.

`create` puts a checkout among them; `worktree.db` runs them in a worktree that is there. A step
reads the record from the registry when it runs: the port is leased by the first of them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tasks_lib.steps import Step
from tasks_lib.worktrees import envfile, git, identity, ports, tidy
from tasks_lib.worktrees.registry import now

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.databases.ladder import Wish
    from tasks_lib.databases.url import DatabaseUrl
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


def new_record(project: Project, branch: str, path: Path, *, base: str | None, made_worktree: bool) -> Record:
    """Return the record of a worktree to be made; its port and subdomain are settled when it is saved."""
    from tasks_lib.worktrees.registry import Record  # noqa: PLC0415 - a value here, a type above

    return Record(
        identity=_derive(project, branch),
        path=str(path),
        port=0,
        state="creating",
        golden=project.settings.template,
        server=project.server.url.masked,
        base=base,
        made_worktree=made_worktree,
    )


def new_slug(project: Project, branch: str) -> str:
    """Return the slug that a worktree of *branch* gets."""
    return _derive(project, branch).slug


def examine(project: Project, record: Record) -> None:
    """
    Make sure, before any change, that the clone can be made or is there already.

    Raises:
        ServerError, GoldenMissingError, OwnershipError, DatabaseError: As the server says.
    """
    from tasks_lib.databases import clone  # noqa: PLC0415 - loads psycopg

    clone.examine(project.source(record.golden), record.identity.database, slug=record.slug)


def record_step(project: Project, record: Record) -> Step:
    """Return the step that writes *record* down and leases its port, before anything else is made."""
    registry = project.registry

    def do() -> str:
        with registry.locked():
            others = [other for other in registry.records() if other.slug != record.slug]
            port = _adopted_port(record) or ports.lease(
                f"{project.registry.common}:{record.slug}", {other.port for other in others}
            )
            names = _derive(project, record.identity.branch, {other.identity.subdomain for other in others})
            registry.save(replace(record, identity=names, port=port, created=now()))
        return f"port {port}"

    return Step(
        f"write down {record.slug} and lease a port",
        do,
        undo=lambda: registry.delete(record.slug),
        done=lambda: registry.find(record.slug) is not None,
        anchor=True,
    )


def clone_step(project: Project, record: Record, narrator: Narrator, wish: Wish) -> Step:
    """Return the step that clones the golden template."""
    from tasks_lib.databases import clone, inspect  # noqa: PLC0415 - loads psycopg

    registry, slug, database = project.registry, record.slug, record.identity.database
    source = project.source(record.golden)

    def published() -> bool:
        return clone.is_complete(source.server, database, repository=source.repository, slug=slug)

    built = False

    def do() -> str:
        nonlocal built
        if published():
            # By a run that was killed before it could write so down.
            clone.sweep(source, narrator.detail)
            size, _ = inspect.size_and_tables(source.server, database)
            registry.update(slug, clone={"method": "kept", "seconds": 0, "bytes": size, "created": now()})
            return "kept"
        built = True
        mark = source.mark("clone", slug=slug, created=now())
        made = clone.build(source, database, mark, wish, narrator.detail)
        summary = {"method": made.method, "seconds": made.seconds, "bytes": made.bytes, "created": mark.created}
        registry.update(slug, clone=summary)
        for warning in made.warnings:
            narrator.say(f"warning: {warning}")
        if made.outdated or project.settings.spares:
            tidy.start(project)
        told = f"by {made.method}, as {made.reason}" if made.method in {"template", "dump"} else made.reason
        return f"{told}: {1000 * made.seconds:.0f} ms"

    def done() -> bool:
        found = registry.find(slug)
        return found is not None and found.clone is not None and published()

    def undo() -> None:
        if built:
            clone.drop(source.server, database, repository=source.repository, slug=slug, golden=source.golden)
            registry.update(slug, clone=None)

    return Step(
        f"clone {source.golden} into {database}",
        do,
        undo,
        done=done,
    )


def point_step(project: Project, record: Record, path: Path) -> Step:
    """Return the step that rewrites the env file of the worktree at *path*."""
    target = path / project.env_name
    before: list[str | None] = []

    def do() -> str:
        before.append(envfile.read(target) if target.exists() else None)
        values = env_values(project, project.registry.require(record.slug))
        _keep_out_of_commits(project, path)
        envfile.point(env_source(project, path), target, values)
        return ", ".join(values)

    def undo() -> None:
        if not before:
            return
        if before[0] is None:
            target.unlink(missing_ok=True)
        else:
            envfile.write(target, before[0])
        if _is_tracked(project, path):
            git.run("update-index", "--no-skip-worktree", project.env_name, cwd=path)

    def done() -> bool:
        found = project.registry.find(record.slug)
        return found is not None and _is_pointed(target, env_values(project, found))

    return Step(f"point {project.env_name} at it", do, undo, done)


def ready_step(project: Project, record: Record) -> Step:
    """Return the step that says the worktree is complete."""

    def do() -> None:
        project.registry.update(record.slug, state="ready")

    def done() -> bool:
        found = project.registry.find(record.slug)
        return found is not None and found.state == "ready"

    return Step("mark it ready", do, done=done)


def own_url(project: Project, record: Record) -> DatabaseUrl:
    """Return the URL of the worktree's own database."""
    return project.server.url.with_database(record.identity.database)


def env_values(project: Project, record: Record) -> dict[str, str]:
    """Return the keys that are rewritten in the worktree's env file, and their values."""
    names = record.identity
    fields = {
        "branch": names.branch,
        "database": names.database,
        "database_url": own_url(project, record).text,
        "dev_url": names.dev_url,
        "port": str(record.port),
        "session": names.session,
        "slug": names.slug,
        "subdomain": names.subdomain,
    }
    return {key: template.format(**fields) for key, template in project.settings.env.items()}


def env_source(project: Project, path: Path) -> Path:
    """Return the env file to start from: the worktree's own where it has one, else the main worktree's."""
    own = path / project.env_name
    return own if own.exists() else project.repository.main / project.env_name


def require_editable(project: Project, record: Record, path: Path) -> None:
    """
    Make sure, before any change, that the env file can be rewritten.

    Raises:
        EnvFileError: If it cannot.
    """
    envfile.require_own(path / project.env_name)
    source = env_source(project, path)
    envfile.rewritten(envfile.read(source), env_values(project, record), name=str(source))


def _derive(project: Project, branch: str, taken: set[str] | None = None) -> identity.Identity:
    settings = project.settings
    return identity.derive(branch, project=settings.project, prefix=settings.prefix, taken_subdomains=taken or ())


def _adopted_port(record: Record) -> int | None:
    """Return the port that Conductor gave the workspace, if this is it."""
    workspace, port = os.environ.get("CONDUCTOR_WORKSPACE_PATH"), os.environ.get("CONDUCTOR_PORT", "")
    here = workspace is not None and os.path.realpath(workspace) == os.path.realpath(record.path)
    return int(port) if here and port.isdecimal() else None


def _keep_out_of_commits(project: Project, path: Path) -> None:
    """Let git pass over the env file, which holds a password and is nobody's uncommitted work."""
    name = project.env_name
    if git.succeeds("check-ignore", "--quiet", name, cwd=path):
        return  # ignored, and not tracked: git says no to what it tracks
    if _is_tracked(project, path):
        # The index is the worktree's own.
        git.run("update-index", "--skip-worktree", name, cwd=path)
    else:
        exclude = project.repository.common / "info" / "exclude"
        with project.registry.locked():
            exclude.parent.mkdir(exist_ok=True)
            with exclude.open("a", encoding="utf-8") as file:
                file.write(f"\n# goldentree: it holds a password\n/{name}\n")


def _is_tracked(project: Project, path: Path) -> bool:
    return git.output("ls-files", project.env_name, cwd=path) != ""


def _is_pointed(target: Path, values: dict[str, str]) -> bool:
    with suppress(OSError):
        found = envfile.load(target)
        return all(found.get(key) == value for key, value in values.items())
    return False
