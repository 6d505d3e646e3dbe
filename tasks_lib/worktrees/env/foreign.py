"""
List the databases that a worktree's tools must not touch: golden, the main worktree's, and those of other worktrees.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tasks_lib.errors import SettingsError
from tasks_lib.worktrees import identity
from tasks_lib.worktrees.env.variables import GOLDEN, MAIN, choose_main_database, find_variables_of_main

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tasks_lib.databases.ownership.proof import Proven, Unproven
    from tasks_lib.settings.references import Reference
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

_ROLES = {
    "temporary": "a database under construction",
    "snapshot": "a snapshot of golden",
    "spare": "a spare clone",
    "parked": "a parked database",
}


def list_foreign_databases(project: Project, slug: str, commented: Collection[Proven | Unproven]) -> dict[str, str]:
    """
    Return what each database on the server is that does not belong to the worktree *slug*, by name.

    `{"app_latest": "the golden template", "app_dev": "the main worktree's database"}`. Databases that are neither a
    template, nor the main worktree's, nor this tool's are not listed; some that are may not exist.

    Args:
        slug: Empty for no worktree: every worktree's database is foreign then.
        commented: All databases on the server with an ownership comment.

    Raises:
        SettingsError: If an env file of the main worktree cannot be read.
    """
    from tasks_lib.databases.ownership.proof import Proven

    records = project.registry.records()
    found = {database.name: _describe(project, database) for database in commented}
    for record in records:
        found |= dict.fromkeys(_names(project, record), f"the database of worktree `{record.slug}`")
    of_main = find_variables_of_main(project)
    found |= dict.fromkeys(_main_databases(project, of_main), MAIN)
    for companion in project.settings.companions:
        names = {companion.name, *(reference.database for reference in of_main if reference.key == companion.env)}
        found |= dict.fromkeys(names, f"{MAIN} of companion `{companion.name}`")
        if companion.template:
            found[companion.template] = f"the template of companion `{companion.name}`"
    goldens = {project.settings.template, *(record.golden for record in records)}
    found |= dict.fromkeys(goldens, GOLDEN)
    own = {
        database.name
        for database in commented
        if isinstance(database, Proven) and (database.comment.slug, database.comment.role) == (slug, "clone")
    }
    own |= {name for record in records if record.slug == slug for name in _names(project, record)}
    return {name: found[name] for name in found.keys() - own}


def _main_databases(project: Project, of_main: Sequence[Reference]) -> set[str]:
    """Return the databases that the main worktree's env files name as its own, else DATABASE_URL's."""
    from tasks_lib.databases.server.url import DatabaseUrl

    of_main = [reference for reference in of_main if not reference.for_tests]
    with suppress(SettingsError):  # several, and it is unknown which one is meant: all count
        of_main = choose_main_database(of_main)
    found = {reference.database for reference in of_main}
    # An exported one may name the database of the worktree in which it was exported.
    if not found and project.settings.database_url:
        found.add(DatabaseUrl.parse(project.settings.database_url).database or "")
    return found - {""}


def _names(project: Project, record: Record) -> Iterator[str]:
    """Yield the names of a worktree's databases; a companion's is derived, because it may not exist yet."""
    yield record.identity.database
    for companion in project.settings.companions:
        yield identity.companion_database(companion.name, record.slug)


def _describe(project: Project, database: Proven | Unproven) -> str:
    from tasks_lib.databases.ownership.proof import Proven

    comment = database.comment
    if comment is None:
        return "a database of another program"
    whose = f" of worktree `{comment.slug}`" if comment.slug else ""
    what = f"{_ROLES.get(comment.role, 'the database')}{whose}"
    if comment.repository != project.registry.repository_id:
        return f"{what} of another repository"
    return what if isinstance(database, Proven) else f"{what}, as its comment says without proof"
