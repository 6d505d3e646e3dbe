"""
The smoke: does the main job work here, from end to end? `python -m tasks_lib.demo.smoke`.

Prints what seed 000, section 07, printed. Then a second worktree goes beside the first, and each proof that they
share nothing is one line. The first check that fails ends it with status 1.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tasks_lib.databases import facts, inspect
from tasks_lib.demo.command import exit_status
from tasks_lib.demo.repository import BRANCH
from tasks_lib.demo.stage import GOLDEN, stage
from tasks_lib.errors import GoldentreeError
from tasks_lib.output import Narrator
from tasks_lib.toolchains.alembic import Alembic
from tasks_lib.worktrees import envfile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tasks_lib.demo.stage import Stage

FIRST, SECOND = "feat-y", BRANCH
"""A new branch, whose clone must be golden's equal; and one that brings migrations."""


def smoke() -> None:
    """
    Run all checks on a stage of their own.

    Raises:
        GoldentreeError: At the first check that fails.
    """
    with stage(Narrator()) as here:
        with here.sessions(3) as held:
            first = here.ask("worktree.create", FIRST, WORKTREE_CLONE_METHOD="dump")
            _require(first["clone"]["method"] == "dump", f"the clone was made by {first['clone']['method']}, not dump")
            _require(
                all(session.execute("SELECT 1").fetchone() for session in held), "a connection to golden was lost"
            )
        prove_clone(here, first["database"])
        second = here.ask("worktree.create", SECOND)
        _say(f"second worktree beside it: OK, cloned by {second['clone']['method']}")
        prove_migrations(here, second)
        prove_separation(here, first, second)
        prove_removal(here, first, second)


def prove_clone(here: Stage, clone: str) -> None:
    """Hold every table, row count, sequence and object of *clone* against golden."""
    source, copy = (inspect.facts_of(here.server, name) for name in (GOLDEN, clone))
    different = "\n".join(map(str, facts.differences(source, copy)))
    _require(not different, f"the clone is not what golden is\n{different}")
    source_ledger, ledger = here.ledger(GOLDEN), here.ledger(clone)
    _require(ledger == source_ledger, "the ledger of the clone is not golden's")
    _say("clone pipeline: OK")
    _say(f"source  {_counts(here.proof(GOLDEN))}")
    _say(f"clone   {_counts(here.proof(clone))}")
    _say(f"seaql_migrations carried over: {len(ledger)} applied")


def prove_migrations(here: Stage, second: Mapping[str, Any]) -> None:
    """Check that the branch's migrations, and only they, were applied to its own clone."""
    toolchain = Alembic(Path(second["path"]))
    golden, clone = (
        toolchain.drift(inspect.column(here.server, name, toolchain.ledger.table, toolchain.ledger.query))
        for name in (GOLDEN, second["database"])
    )
