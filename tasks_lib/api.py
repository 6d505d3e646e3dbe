"""
What the commands do, for callers in Python. `tasks_lib` exports every function here.

Settings come from the same places as for the commands; steps and warnings are printed on stderr. Every function raises
a `GoldentreeError` if it cannot do its job. On a failure or Ctrl-C, changes are undone as by the command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.collections._project import project_at
from tasks_lib.errors import WorktreeError
from tasks_lib.output import Narrator

if TYPE_CHECKING:
    import os

    from tasks_lib.ledger.ledger import Ledger
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.removal.steps import Removal
    from tasks_lib.worktrees.reports.listing import Row


def open_project(path: str | os.PathLike[str] = ".") -> Project:
    """
    Return the project of the repository around the directory *path*, which may be in any of its worktrees.

    Example: `project = open_project("~/app")`

    Raises:
        GitError: If *path* is not in a repository that goldentree can work in.
        SettingsError: If a setting is unknown or malformed.
        WorktreeError: If *path* is not a directory.
    """
    directory = Path(path).expanduser().absolute()
    if not directory.is_dir():
        raise WorktreeError(f"`{directory}` is not a directory")
    return project_at(directory)


def create_worktree(
    project: Project,
    branch: str,
    *,
    base: str = "",
    pull_request: int | None = None,
    fetch: bool = False,
    path: str | os.PathLike[str] = "",
    database: bool = True,
    fresh: bool = False,
    evict_idle: bool = False,
) -> Record:
    """
    Create a worktree with its own database, env file and port, as `inv worktree.create` does.

    Example: `record = create_worktree(project, "feat/search")`

    Args:
        branch: The branch to check out; created if it does not exist. May be empty for a pull request.
        base: What a new branch starts from; by default the remote's branch of that name, else `worktree.base`.
        pull_request: The number of a pull or merge request that a new branch starts at.
        fetch: Fetch all remotes first.
        path: Where to put the worktree, absolute or relative to the current directory; by default as the settings say.
        database: Whether to clone golden now; `inv worktree.setup` adds the database later.
        fresh: Take a new snapshot of golden even if the last one is current.
        evict_idle: End idle sessions on golden instead of dumping it; refused while a session is busy.

    Returns:
        The worktree's record: its `path`, its `port`, and as `identity` its database, slug and dev URL.

    Raises:
        BranchError: If the branch cannot have a worktree.
        WorktreeError: If the worktree exists already, or something else is at its path.
        RegistryError: If another process is working on the worktree.
        ServerError, DatabaseError: If golden cannot be cloned.
        ToolchainError: If the branch's migrations or code generation fail.
        Interrupted: On Ctrl-C or SIGTERM, after everything was undone.
    """
    from tasks_lib.worktrees.plans.create import plan_create

    narrator = Narrator()
    options = project.clone_options(fresh=fresh, evict_idle=evict_idle) if database else None
    where = str(path)
    number = "" if pull_request is None else str(pull_request)
    with plan_create(
        project, branch, narrator, base=base, path=where, pull_request=number, fetch=fetch, options=options
    ) as planned:
        planned.run(narrator)
        return project.registry.require(planned.subject.slug)


def list_worktrees(project: Project) -> list[Row]:
    """
    Return every worktree, the main one first, and at the end the records whose worktree is gone.

    Reads git and the registry, not the server: `git`, `databases` and `listening` of each row are None.

    Example: `paths = [row.path for row in list_worktrees(project)]`

    Raises:
        GitError: If git cannot list them.
        RegistryError: If a record cannot be read.
    """
    from tasks_lib.worktrees.reports.listing import list_rows

    return list_rows(project)


def remove_worktree(project: Project, name: str, *, force: bool = False, keep_branch: bool = False) -> Removal:
    """
    Remove a worktree and its branch, and park its databases, as `inv worktree.remove` does.

    Ends the processes that run in the worktree, and marks its agents in the ledger as stopped.

    Example: `remove_worktree(project, "feat/search")`

    Args:
        name: The branch, its slug, or the worktree's path.
        force: Remove it with uncommitted or unmerged work; `undo_removal` restores it.
        keep_branch: Keep the branch.

    Returns:
        The removal: its `record`, the names of the `parked` databases, whether parking is `pending` because the server
        could not be reached, and of the ignored files (`unseen`) those that were `kept`, and those that were `lost`.

    Raises:
        WorktreeError: If the worktree is unknown, the main one, the current one or locked, or work would be lost.
        RegistryError: If another process is working on the worktree.
        Interrupted: On Ctrl-C or SIGTERM.
    """
    from tasks_lib.workflows.ledger_access import stop_orphaned_agents
    from tasks_lib.worktrees.plans.remove import plan_remove

    narrator = Narrator()
    with plan_remove(project, name, narrator, force=force, keep_branch=keep_branch) as planned:
        planned.run(narrator)
    stop_orphaned_agents(project, narrator)
    return planned.subject


def undo_removal(project: Project, name: str = "", *, path: str | os.PathLike[str] = "") -> Path:
    """
    Restore a removed worktree with its branch, databases and uncommitted work, as `inv worktree.undo` does.

    Example: `path = undo_removal(project, "feat/search")`

    Args:
        name: The worktree's branch, slug or former path; by default the last one removed.
        path: Where to put the worktree; by default where it was.

    Returns:
        The directory of the restored worktree.

    Raises:
        WorktreeError, BranchError: If the removal is unknown, or its branch or path is in use again.
        RegistryError: If another process is working on the worktree.
        ServerError, DatabaseError: If the databases cannot be restored.
        Interrupted: On Ctrl-C or SIGTERM, after everything was undone.
    """
    from tasks_lib.worktrees.plans.undo import plan_undo

    narrator = Narrator()
    with plan_undo(project, name, narrator, path=str(path)) as planned:
        planned.run(narrator)
    return planned.subject.path


def open_ledger(project: Project) -> Ledger:
    """
    Open the ledger of the repository: the file in its git directory, or the database in LEDGER_URL.

    Creates or migrates it if necessary. Read and write it in transactions.

    Example: `with open_ledger(project).read() as tx: agents = tx.agents.find_all()`

    Raises:
        SettingsError: If LEDGER_URL cannot be used.
        LedgerError: If the ledger cannot be opened or migrated.
    """
    from tasks_lib.workflows.ledger_access import ledger_of

    return ledger_of(project)
