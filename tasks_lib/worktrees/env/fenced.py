"""
Run a tool in a worktree, and stop it if it uses a database that is not the worktree's.

Its environment and the env files name the worktree's databases, but its code or configuration may name others.
"""

from __future__ import annotations

import shlex
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from tasks_lib.errors import GoldentreeError, ServerError, ToolchainError, WrongDatabaseError
from tasks_lib.toolchains.catalog import PRESETS, list_toolchains
from tasks_lib.toolchains.run import format_masked, run
from tasks_lib.worktrees.env.foreign import list_foreign_databases
from tasks_lib.worktrees.env.variables import (
    GOLDEN,
    MAIN,
    find_mentions,
    format_cure,
    known_databases,
    read_variables,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tasks_lib.databases.compare.queries import FindKey
    from tasks_lib.databases.server.fence import Intrusion
    from tasks_lib.toolchains.base import Command
    from tasks_lib.worktrees.target import Target


def run_fenced(target: Target, command: Command, *, env: Mapping[str, str], hint: str = "") -> list[str]:
    """
    Run *command* to its end; relay its output.

    Its sessions on foreign databases are ended, and the command with them. A session that is too short to be seen is
    noticed afterwards if it has changed a migration history of golden or of the main worktree's database.

    Args:
        env: Its environment, from `worktree_environment`.
        hint: The hint of the error if it fails; empty if the plan adds one.

    Returns:
        Those of golden and the main worktree's databases that it has not migrated.

    Raises:
        WrongDatabaseError: If it used a foreign database.
        ToolchainError: If its program is not installed, or it does not exit with 0.
        ServerError: If the server does not answer, although the worktree has a database there.
    """
    from tasks_lib.databases.compare.histories import HistoryWatch
    from tasks_lib.databases.ownership.proof import list_commented
    from tasks_lib.databases.server.fence import Fence

    project, narrator = target.project, target.narrator
    shown = format_masked(command, env)
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(project.server.connect())
        except ServerError as error:
            record = target.find_record()
            if record is not None and record.clone is not None:
                raise
            narrator.say(f"warning: nothing keeps `{shown}` from other databases: {error.what}")
            run(command, env=env, on_line=narrator.relay, hint=hint)
            return []
        foreign = list_foreign_databases(
            project, target.slug, list_commented(connection, project.registry.signer, "", usable=True)
        )
        compared = [name for name, what in foreign.items() if what in (GOLDEN, MAIN)]
        histories = HistoryWatch(project.server, connection, compared, _list_history_keys(target))
        for name, history in histories.before.items():
            if history.unread:
                narrator.say(f"warning: a migration of `{name}` would not be noticed: {history.unread}")
        fence = Fence(connection, foreign.keys())
        failure: BaseException | None = None
        try:
            run(command, env=env, on_line=narrator.relay, hint=hint, watch=fence.watch)
        except BaseException as caught:  # noqa: BLE001 - raised below, unless there is something worse to say
            failure = caught
        changes = histories.find_changes()
    if fence.intrusions or changes:
        raise _harm(target, shown, env, foreign, fence.intrusions, changes, failure) from failure
    if failure:
        raise failure
    return [name for name, history in histories.before.items() if not history.unread]


def _list_history_keys(target: Target) -> Mapping[str, tuple[Sequence[str], FindKey]]:
    """Return what makes a key of a migration, by the names of the tables in which tools record migrations."""
    roots = (target.path, target.project.repository.main)
    found = {}
    for toolchain in [
        *(preset(target.path) for preset in PRESETS.values()),
        *(toolchain for root in roots for toolchain in list_toolchains(root)),
    ]:
        with suppress(ToolchainError):  # the tool itself says more about files that it cannot read
            history = toolchain.history
            found[history.table.rpartition(".")[2].strip('"').replace('""', '"')] = (
                history.columns,
                history.find_key,
            )
    return found


def _harm(
    target: Target,
    shown: str,
    env: Mapping[str, str],
    foreign: Mapping[str, str],
    intrusions: Sequence[Intrusion],
    changes: Mapping[str, Sequence[str]],
    failure: BaseException | None,
) -> WrongDatabaseError:
    first = intrusions[0].database if intrusions else next(iter(changes))
    why = []
    for intrusion in intrusions:
        client, name = intrusion.client, intrusion.database
        end = "its transaction was rolled back" if intrusion.ended else "our role may not end its session"
        why.append(f"process {client.pid} (`{client.program}`) was connected to `{name}`; it was ended, and {end}")
    for name, lines in changes.items():
        why += [f"`{name}`: {line}" for line in lines]
    if changes:
        why.append("goldentree cannot undo that; unless another program did it, this command did")
    if not intrusions and isinstance(failure, GoldentreeError):
        why += [failure.what, *failure.why.splitlines()]
    reasons, hint = _explain(target, env, first)
    named = f"`{first}`, {foreign[first]}"
    what = f"`{shown}` connected to {named}" if intrusions else f"{named}, changed while `{shown}` ran"
    return WrongDatabaseError(what, why="\n".join(why + reasons), hint=hint)


def _explain(target: Target, env: Mapping[str, str], database: str) -> tuple[list[str], str]:
    """Return which variables and files lead to *database*, and what cures it."""
    project = target.project
    known = known_databases(project, target.record, project.server.url)
    with suppress(GoldentreeError):
        found = [
            variable
            for variable in read_variables(project, target.path, known, env)
            if variable.reference.database == database and variable.here
        ]
        if found:
            return [variable.describe() for variable in found], format_cure(found)
    mentions = [f"{place} names {what}" for place, what in find_mentions(target.path, known) if f"`{database}`" in what]
    search = shlex.join(["git", "grep", "-l", "--untracked", "--no-exclude-standard", "-F", database])
    return mentions, f"let it use DATABASE_URL; these files name the other database:\n{search}"
