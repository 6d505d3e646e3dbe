"""
Check the main workflow from end to end: `python -m tasks_lib.demo.smoke`.

Prints the counts of source and clone, then creates a second worktree and prints a line for each proof that the two
share nothing. The first failed check ends it with status 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.databases.compare import contents
from tasks_lib.demo.command import exit_status
from tasks_lib.demo.repository import BRANCH
from tasks_lib.demo.stage import GOLDEN, proof, stage
from tasks_lib.errors import GoldentreeError
from tasks_lib.output import Narrator, print_answer
from tasks_lib.worktrees.env import dotenv_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tasks_lib.demo.stage import Stage

FIRST, SECOND = "feat-y", BRANCH
"""A new branch, whose clone must equal golden; and one that brings migrations."""


def smoke() -> None:
    """
    Run all checks on a new stage.

    Raises:
        GoldentreeError: At the first check that fails.
    """
    with stage(Narrator()) as here:
        prove_golden(here)
        with here.sessions(3) as sessions:
            first = here.ask("worktree.create", FIRST, WORKTREE_CLONE_METHOD="dump")
            second = here.ask("worktree.create", SECOND)
            for session in sessions:  # fails if we broke the connection
                session.execute("SELECT 1")
        prove_clone(here, first)
        print_answer(f"\nsecond worktree beside the first: OK, cloned by {second['clone']['method']}")
        prove_migrations(here, first, second)
        prove_rows(here, first, second)
        prove_ports_and_env_files(here, first, second)
        prove_removal(here, first, second)


def prove_golden(here: Stage) -> None:
    """Build the golden template from nothing, then again, which must change nothing."""
    with here.twilio():
        built = here.ask("golden.build")
        made = [block["block"] for block in built["blocks"] if block["state"] == "made"]
        _require(len(made) == len(built["blocks"]), "a block was not made", *built["blocks"])
        before = here.ask("golden.status")["fingerprint"]
        here.ask("golden.build")
    after = here.ask("golden.status")["fingerprint"]
    _require(before == after, "building golden twice has changed it", f"{before} -> {after}")
    checks = here.ask("golden.verify")["checks"]
    print_answer(
        f"golden from nothing: OK, {len(made)} blocks, {len(checks)} checks; building it again changes nothing"
    )


def prove_clone(here: Stage, made: Mapping[str, Any]) -> None:
    """Compare the clone with golden: tables, rows, sequences, extensions, locale, migration history."""
    _require(made["clone"]["method"] == "dump", f"the clone was made by {made['clone']['method']}, not by dump")
    golden, clone = here.facts(GOLDEN), here.facts(made["database"])
    different = contents.find_differences(golden, clone)
    _require(not different, "the clone is not what golden is", *different)
    history = here.seaorm_migrations(made["database"])
    _require(history == here.seaorm_migrations(GOLDEN), "the clone's seaql_migrations are not golden's")
    print_answer("clone pipeline: OK")
    print_answer(f"source  {_counts(proof(golden))}")
    print_answer(f"clone   {_counts(proof(clone))}")
    print_answer(f"seaql_migrations carried over: {len(history)} applied")


def prove_migrations(here: Stage, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Check that the second branch's migrations are applied in its own clone and nowhere else."""
    branch = Path(second["path"])
    new = here.drift(branch, GOLDEN).pending
    _require(bool(new), f"golden has the migrations of {SECOND}")
    _require(here.drift(branch, first["database"]).pending == new, f"{FIRST} got migrations of {SECOND}")
    _require(not here.drift(branch, second["database"]).pending, f"{SECOND} was not migrated")
    ours, theirs = (Path(made["path"], "app", "models_generated.py").read_text() for made in (first, second))
    _require("class Callback(" in theirs, f"the models of {SECOND} do not show its new table")
    _require("class Callback(" not in ours, f"the models of {FIRST} show a table of {SECOND}")
    print_answer(f"migrations are separate: {', '.join(new)} in {SECOND} only, and its models follow")


def prove_rows(here: Stage, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Add a contact to the first clone, and check that no other database has it."""
    databases = [first["database"], second["database"], GOLDEN]
    before = [proof(here.facts(name))["contacts"] for name in databases]
    with here.server.connect(first["database"]) as connection:
        connection.execute(
            "INSERT INTO public.contact (organization_id, first_name) SELECT id, 'Grace' FROM public.organization"
        )
    after = [proof(here.facts(name))["contacts"] for name in databases]
    _require(after == [before[0] + 1, *before[1:]], f"a contact added in {FIRST} went astray", f"{before} -> {after}")
    print_answer(
        "rows are separate: a contact added in {}; it has {}, {} has {}, golden {}".format(
            FIRST, after[0], SECOND, *after[1:]
        )
    )


def prove_ports_and_env_files(here: Stage, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Check that each env file differs from the main worktree's only in its own values."""
    main, one, two = (dotenv_file.load(Path(path, ".env")) for path in (here.main, first["path"], second["path"]))
    ports = {env["PORT"] for env in (main, one, two)}
    _require(len(ports) == 3, "a port is used twice", *sorted(map(str, ports)))
    print_answer(f"ports are separate: {main['PORT']} in main, {one['PORT']} in {FIRST}, {two['PORT']} in {SECOND}")
    for made, env in ((first, one), (second, two)):
        own = {"PORT", "DATABASE_URL", "WORKTREE_SLUG", "WORKTREE_SUBDOMAIN", "WORKTREE_BRANCH"}
        changed = {key for key in env if env[key] != main.get(key)}
        _require(changed == own, f"the env file of {made['branch']} differs in {', '.join(sorted(changed))}")
        url = here.server.url.with_database(made["database"]).text
        _require(env["DATABASE_URL"] == url, f"the env file of {made['branch']} names another database")
    print_answer(f"env files are separate: each names its own database; APP_HOST is {main['APP_HOST']} in all three")


def prove_removal(here: Stage, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Remove the first worktree, check the second one, and restore the first."""
    rows, before = here.facts(first["database"]), here.facts(second["database"])
    removed = here.ask("worktree.remove", FIRST)
    _require(removed["databases"] == "parked", f"the database of {FIRST} is {removed['databases']}")
    _require(not Path(first["path"]).exists(), f"{first['path']} is still there")
    listed = [row["branch"] for row in here.ask("worktree.list")]
    _require(listed == ["main", SECOND], f"after the removal, the worktrees are {', '.join(listed)}")
    _require(here.facts(second["database"]) == before, f"the removal of {FIRST} changed the database of {SECOND}")
    print_answer(f"removal is separate: {FIRST} is gone, {SECOND} has its worktree and its rows")
    own = here.facts(here.ask("worktree.undo", FIRST)["database"])
    _require(own == rows, f"{FIRST} did not come back with its rows")
    print_answer(f"removal can be undone: {FIRST} is back, with its rows")


def _counts(rows: Mapping[str, int]) -> str:
    return "  ".join(f"{label}={count}" for label, count in rows.items())


def _require(condition: bool, otherwise: str, *details: object) -> None:
    if not condition:
        raise GoldentreeError(f"smoke: {otherwise}", why="\n".join(map(str, details)))


if __name__ == "__main__":
    argparse.ArgumentParser(description="Check the main job from end to end on a disposable server.").parse_args()
    sys.exit(exit_status(smoke))
