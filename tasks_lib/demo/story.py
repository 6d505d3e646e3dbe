"""
The demo shows step by step what a branch gets: for people who see goldentree for the first time.

Every number that it prints has just been measured.
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
from tasks_lib.demo.stage import GOLDEN, SEAORM_HISTORY, kept_home, proof, stage
from tasks_lib.errors import GoldentreeError
from tasks_lib.git.cli import read_git
from tasks_lib.output import Narrator, format_pairs, format_size, format_table, print_answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from psycopg import Connection

    from tasks_lib.demo.stage import Stage

SESSIONS = 3
WIDTH = 80


def tell(*, keep: bool) -> None:
    """
    Set the stage, create the worktree of a branch, and show what happened; delete everything unless *keep*.

    Raises:
        GoldentreeError: If anything goes wrong.
    """
    # Print one stream, also in a pipe: the progress of `inv` belongs between our lines.
    with redirect_stderr(sys.stdout):
        _heading("Set up: a server and a repository")
        with stage(Narrator(), keep=keep) as here:
            try:
                _introduce(here)
                _build(here)
                _play(here)
                if not keep:
                    _heading("Remove the worktree")
                    _command(here, "worktree.remove", BRANCH, "--keep-branch")
            finally:
                if keep:
                    _heading("Your turn")
                    _hand_over(here)
        if not keep:
            print_answer(f"\nThe server is stopped, and {here.root} is deleted. Nothing else was touched.")
            print_answer(
                "To keep everything and continue by hand: inv demo --keep, or python3 -m nox -s demo -- --keep"
            )


def _play(here: Stage) -> None:
    with here.sessions(SESSIONS) as sessions:
        _heading("One command gives a branch everything")
        print_answer(f"{SESSIONS} connections to {GOLDEN} stay open the whole time, like those of a dev server.\n")
        _command(here, "worktree.create", BRANCH)
        made = next(row for row in here.ask("worktree.list") if row["branch"] == BRANCH)
        _explain(here, made, sessions)
        _heading("A second worktree: golden has not changed, so the snapshot is cloned again")
        _command(here, "worktree.create", "feat-y")


def _introduce(here: Stage) -> None:
    with here.server.connect() as connection:
        release = connection.info.parameter_status("server_version")
    added = read_git("diff", "--name-only", "main", BRANCH, cwd=here.main).splitlines()
    print_answer(
        "\n"
        + format_pairs(
            [
                ("server", f"PostgreSQL {release} at {here.server.url}"),
                ("repository", f"{here.main}, on main"),
                ("branch", f"{BRANCH}, which adds {len(added)} files: {', '.join(Path(name).stem for name in added)}"),
            ]
        )
    )


def _build(here: Stage) -> None:
    _heading("Build the golden template: main's migrations, then an account of the product Loquent")
    print_answer("The phone number comes from a stand-in for Twilio on this machine.\n")
    with here.twilio():
        _command(here, "golden.build")
    print_answer("")
    _command(here, "golden.verify")
    bytes_, tables = queries.read_size_and_table_count(here.server, GOLDEN)
    applied, before = here.drift(here.main, GOLDEN).applied, len(here.seaorm_migrations(GOLDEN))
    print_answer(
        f"\n{format_size(bytes_)}, {tables} tables; {before} migrations of SeaORM, then {len(applied)} of Alembic."
    )


def _command(here: Stage, *arguments: str) -> None:
    print_answer(f"$ inv {' '.join(arguments)}")
    here.show(*arguments)


def _explain(here: Stage, made: Mapping[str, Any], sessions: list[Connection[Any]]) -> None:
    worktree, database = Path(made["path"]), made["database"]
    _heading("Names: all of them come from the branch")
    print_answer(f"{BRANCH} -> {made['slug']} -> {database}")
    print_answer(f"{' ' * len(BRANCH)} -> port {made['port']}")
    print_answer(f"{' ' * len(BRANCH)} -> {made['dev_url']}, where portless is installed")

    _heading("Rows: a copy of golden's, in the branch's own database")
    print_answer(_rows(here, database))

    _heading("Migrations: golden's were copied, the branch's new ones were applied")
    carried, history = here.drift(worktree, GOLDEN), here.seaorm_migrations(database)
    print_answer(
        format_pairs(
            [
                ("copied", f"{len(history)} of SeaORM, the last one {history[-1]}"),
                ("", f"{len(carried.applied)} of Alembic: {', '.join(carried.applied)}"),
                ("applied now", f"{len(carried.pending)} of Alembic: {', '.join(carried.pending)}"),
                ("still pending", f"{len(here.drift(worktree, database).pending)}"),
            ]
        )
    )
    print_answer("\nm008 has filled its new column from the copied rows:")
    print_answer(_preferred_channels(here, database))

    _heading("Models: generated from that database by sqlacodegen")
    models = worktree / "app" / "models_generated.py"
    print_answer(f"{models.relative_to(worktree)}, {models.read_text().count('(Base):')} classes, for example\n")
    print_answer(_model(models.read_text(), "Callback"))

    _heading("The env file: only the worktree's own keys differ")
    print_answer(_env_diff(here, worktree))

    _heading("Golden is untouched")
    pids = [str(scalar(session, "SELECT pg_backend_pid()")) for session in sessions]
    print_answer(f"All {len(pids)} connections to {GOLDEN} are still open and answer (backends {', '.join(pids)}).")


def _rows(here: Stage, clone: str) -> str:
    golden, own = here.facts(GOLDEN), here.facts(clone)
    new = sorted(own.tables.keys() - golden.tables.keys())
    cells = [(label, str(count), str(proof(own)[label])) for label, count in proof(golden).items()]
    cells += [
        (table_name.removeprefix("public."), str(golden.tables.get(table_name, "-")), str(own.tables[table_name]))
        for table_name in (f"public.{SEAORM_HISTORY}", *new)
    ]
    cells.append(("all tables", str(golden.rows), str(own.rows)))
    return format_table(("", GOLDEN, clone), cells)


def _preferred_channels(here: Stage, clone: str) -> str:
    with here.server.connect(clone) as connection:
        rows = connection.execute("SELECT preferred_channel, full_name FROM public.contact ORDER BY 1, 2").fetchall()
    return format_table(("preferred_channel", "full_name"), rows)


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
    print_answer("The server is running. In a shell:\n")
    for line in (
        f"cd {here.main}",
        f'export PATH="{python.parent}:$PATH" GOLDENTREE_HOME={home}',
        "inv --list",
        "inv worktree.list",
        "inv worktree.create my-idea",
        f'cd "$(inv worktree.path {BRANCH})" && inv db.status && python -m app',
    ):
        print_answer(f"    {line}")
    print_answer("\nTo stop the server and delete everything, in any shell:\n")
    # Set GOLDENTREE_HOME here: without it, the line would stop another server and delete the files of a running one.
    stop = f"GOLDENTREE_HOME={home} {shlex.quote(str(python))} -m invoke server.stop"
    print_answer(f"    cd {here.main} && {stop} && cd / && rm -r {here.root}")


def _heading(text: str) -> None:
    print_answer(f"\n── {text} ".ljust(WIDTH, "─") + "\n")
