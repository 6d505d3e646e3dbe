"""
The demo: one branch gets its own everything, step by step, for somebody who has never seen it.

Nothing is told that was not measured a moment before.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stderr
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.databases.compare import queries
from tasks_lib.databases.server.connection import scalar
from tasks_lib.demo.repository import BRANCH
from tasks_lib.demo.stage import GOLDEN, LEDGER, kept_home, proof, stage
from tasks_lib.errors import GoldentreeError
from tasks_lib.git.cli import read_git
from tasks_lib.output import Narrator, answer, pairs, size, table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from psycopg import Connection

    from tasks_lib.demo.stage import Stage

SESSIONS = 3
WIDTH = 80


def tell(*, keep: bool) -> None:
    """
    Set the stage, create the worktree of a branch, and show what happened; take everything away unless *keep*.

    Raises:
        GoldentreeError: If anything goes wrong.
    """
    # A story is one stream, in a pipe as well: what `inv` narrates belongs between our lines.
    with redirect_stderr(sys.stdout):
        _heading("The stage: a server, a repository")
        with stage(Narrator(), keep=keep) as here:
            try:
                _introduce(here)
                _build(here)
                _play(here)
                if not keep:
                    _heading("And away with it")
                    _command(here, "worktree.remove", BRANCH, "--keep-branch")
            finally:
                if keep:
                    _heading("Now you")
                    _hand_over(here)
        if not keep:
            answer(f"\nThe server is stopped, and {here.root} is deleted. Nothing else was touched.")
            answer("To keep it all and go on by hand: inv demo --keep, or python3 -m nox -s demo -- --keep")


def _play(here: Stage) -> None:
    with here.sessions(SESSIONS) as sessions:
        _heading("One command for a branch")
        answer(f"{SESSIONS} connections to {GOLDEN} stay open all the while, as those of a dev server would.\n")
        _command(here, "worktree.create", BRANCH)
        made = next(row for row in here.ask("worktree.list") if row["branch"] == BRANCH)
        _explain(here, made, sessions)
        _heading("A second worktree: golden has not changed, so its snapshot is cloned")
        _command(here, "worktree.create", "feat-y")


def _introduce(here: Stage) -> None:
    with here.server.connect() as connection:
        release = connection.info.parameter_status("server_version")
    added = read_git("diff", "--name-only", "main", BRANCH, cwd=here.main).splitlines()
    answer(
        "\n"
        + pairs(
            [
                ("server", f"PostgreSQL {release} at {here.server.url}"),
                ("repository", f"{here.main}, on main"),
                ("branch", f"{BRANCH}, with {len(added)} more: {', '.join(Path(name).stem for name in added)}"),
            ]
        )
    )


def _build(here: Stage) -> None:
    _heading("Golden, from nothing: main's migrations, then Loquent's account")
    answer("The phone number is that of a stand-in for Twilio, on this machine.\n")
    with here.twilio():
        _command(here, "golden.build")
    answer("")
    _command(here, "golden.verify")
    bytes_, tables = queries.read_size_and_table_count(here.server, GOLDEN)
    applied, before = here.drift(here.main, GOLDEN).applied, len(here.ledger(GOLDEN))
    answer(f"\n{size(bytes_)}, {tables} tables; {before} migrations of SeaORM, then {len(applied)} of Alembic.")


def _command(here: Stage, *arguments: str) -> None:
    answer(f"$ inv {' '.join(arguments)}")
    here.show(*arguments)


def _explain(here: Stage, made: Mapping[str, Any], sessions: list[Connection[Any]]) -> None:
    worktree, database = Path(made["path"]), made["database"]
    _heading("Identity: every name comes from the branch, once")
    answer(f"{BRANCH} -> {made['slug']} -> {database}")
    answer(f"{' ' * len(BRANCH)} -> port {made['port']} -> {made['dev_url']}")

    _heading("Rows: golden's, in a database of the branch's own")
    answer(_rows(here, database))

    _heading("Migrations: what golden has came along, what the branch adds went on top")
    carried, ledger = here.drift(worktree, GOLDEN), here.ledger(database)
    answer(
        pairs(
            [
                ("carried over", f"{len(ledger)} of SeaORM, the last one {ledger[-1]}"),
                ("", f"{len(carried.applied)} of Alembic: {', '.join(carried.applied)}"),
                ("applied now", f"{len(carried.pending)} of Alembic: {', '.join(carried.pending)}"),
                ("still pending", f"{len(here.drift(worktree, database).pending)}"),
            ]
        )
    )
    answer("\nm008 has filled its new column in from the rows that came along:")
    answer(_preferred_channels(here, database))

    _heading("Models: generated from that database by sqlacodegen")
    models = worktree / "app" / "models_generated.py"
    answer(f"{models.relative_to(worktree)}, {models.read_text().count('(Base):')} classes, among them\n")
    answer(_model(models.read_text(), "Callback"))

    _heading("The env file: APP_HOST and every other line as they were")
    answer(_env_diff(here, worktree))

    _heading("And golden?")
    pids = [str(scalar(session, "SELECT pg_backend_pid()")) for session in sessions]
    answer(f"All {len(pids)} connections to {GOLDEN} are still open and answer (backends {', '.join(pids)}).")


def _rows(here: Stage, clone: str) -> str:
    golden, own = here.facts(GOLDEN), here.facts(clone)
    new = sorted(own.tables.keys() - golden.tables.keys())
    cells = [(label, str(count), str(proof(own)[label])) for label, count in proof(golden).items()]
    cells += [
        (table_name.removeprefix("public."), str(golden.tables.get(table_name, "-")), str(own.tables[table_name]))
        for table_name in (f"public.{LEDGER}", *new)
    ]
    cells.append(("all tables", str(golden.rows), str(own.rows)))
    return table(("", GOLDEN, clone), cells)


def _preferred_channels(here: Stage, clone: str) -> str:
    with here.server.connect(clone) as connection:
        rows = connection.execute("SELECT preferred_channel, full_name FROM contact ORDER BY 1, 2").fetchall()
    return table(("preferred_channel", "full_name"), rows)


def _model(models: str, name: str) -> str:
    found = next((part for part in models.split("\n\n\n") if part.startswith(f"class {name}(")), None)
    if found is None:
        raise GoldentreeError(f"the generated models have no class `{name}`")
    return found.strip()


def _env_diff(here: Stage, worktree: Path) -> str:
    password = here.server.url.parameters["password"]
    before, after = (
        (path / ".env").read_text().replace(password, "***").splitlines() for path in (here.main, worktree)
    )
    return "\n".join(unified_diff(before, after, f"{here.main.name}/.env", f"{worktree.name}/.env", n=99, lineterm=""))


def _hand_over(here: Stage) -> None:
    python, home = Path(sys.executable), kept_home(here.root)
    answer("The server runs, and everything is in place. In a shell:\n")
    for line in (
        f"cd {here.main}",
        f'export PATH="{python.parent}:$PATH" GOLDENTREE_HOME={home}',
        "inv --list",
        "inv worktree.list",
        "inv worktree.create my-idea",
        f'cd "$(inv worktree.path {BRANCH})" && inv db.status && python -m app',
    ):
        answer(f"    {line}")
    answer("\nTo stop the server and delete all of it, in any shell:\n")
    # Complete in itself: without GOLDENTREE_HOME it would stop another server, and delete this one's files under it.
    stop = f"GOLDENTREE_HOME={home} {shlex.quote(str(python))} -m invoke server.stop"
    answer(f"    cd {here.main} && {stop} && cd / && rm -r {here.root}")


def _heading(text: str) -> None:
    answer(f"\n── {text} ".ljust(WIDTH, "─") + "\n")
