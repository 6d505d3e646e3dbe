"""
Build the account: every block that is not there, in order, in one transaction.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tasks_lib.errors import DatabaseError, SettingsError
from tasks_lib.loquent.block import find_obstacle, list_missing, make_block
from tasks_lib.loquent.blocks import BLOCKS
from tasks_lib.toolchains.run import mask_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg import Connection

    from tasks_lib.loquent.block import Block, Inputs

State = Literal["made", "there", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """
    What became of a block.

    Attributes:
        made: What was missing, and is there now.
        reason: Why it was skipped.
    """

    block: str
    state: State
    made: tuple[str, ...] = ()
    reason: str = ""


def select_blocks(only: str | None) -> Sequence[Block]:
    """
    Return the blocks to build: all, or the one named *only*.

    Raises:
        SettingsError: If there is none of that name.
    """
    if only is None:
        return BLOCKS
    found = [block for block in BLOCKS if block.name == only]
    if not found:
        raise SettingsError(f"there is no block `{only}`", hint=f"one of: {', '.join(block.name for block in BLOCKS)}")
    return found


def dry_run(connection: Connection[Any] | None, blocks: Sequence[Block], inputs: Inputs) -> list[Outcome]:
    """
    Return what `fill` would do, without doing it.

    Args:
        connection: To the database; None where there is none yet.

    Raises:
        DatabaseError: If what a block refers to neither is there nor would be made.
    """
    return [outcome for _, outcome in _examined(connection, blocks, inputs)]


def make_missing(connection: Connection[Any], blocks: Sequence[Block], inputs: Inputs) -> list[Outcome]:
    """
    Make what is missing of *blocks*, in the caller's transaction; where nothing is, nothing is written.

    Raises:
        DatabaseError: If what a block refers to is not there, or a block is incomplete after it was made.
        TwilioError: If a subaccount has to be made, and cannot.
    """
    outcomes = []
    for block, outcome in _examined(connection, blocks, inputs):
        if outcome.state == "made":
            _make(connection, block, inputs)
        outcomes.append(outcome)
    return outcomes


def _examined(
    connection: Connection[Any] | None, blocks: Sequence[Block], inputs: Inputs
) -> Iterator[tuple[Block, Outcome]]:
    """Yield each of *blocks* with what is to become of it, seen when its turn comes."""
    outcomes: dict[str, Outcome] = {}
    # Those that are not to be built are asked as well: whether they are there, or will never be, decides for others.
    for block in BLOCKS:
        outcomes[block.name] = outcome = _examine(connection, block, inputs, outcomes)
        if block in blocks:
            if outcome.state == "made":
                _require_needs(block, blocks, outcomes)
            yield block, outcome


@contextmanager
def _refusals(block: Block, inputs: Inputs) -> Iterator[None]:
    """Say of which block the database refuses something, and no more of a row than that."""
    from psycopg import Error, errors

    def said(error: Error) -> str:
        # Without its detail: that is the whole row, the auth token of Twilio included. A trigger may quote it, too.
        return mask_secrets(error.diag.message_primary or "", {}, inputs.seed.secrets)

    try:
        yield
    except errors.IntegrityError as error:
        raise DatabaseError(
            f"block `{block.name}` cannot be made: {said(error)}",
            why="the schema asks for more than the blocks give, or already holds a row in their place",
        ) from None
    except errors.RaiseException as error:
        raise DatabaseError(
            f"block `{block.name}` cannot be made: {said(error)}", why="a trigger of the schema raises it"
        ) from None
    except (
        errors.InvalidColumnReference,  # what ON CONFLICT names is not unique
        errors.UndefinedColumn,
        errors.UndefinedFunction,
        errors.UndefinedObject,
        errors.UndefinedTable,
        errors.DatatypeMismatch,
        errors.DataError,
    ) as error:
        raise DatabaseError(
            f"block `{block.name}` does not fit the schema: {said(error)}",
            why="it was written for tables as goldentree's own migrations make them",
            hint="change it where it is, in tasks_lib/loquent/blocks; tasks_lib/loquent/migrations has those tables",
        ) from None


def _make(connection: Connection[Any], block: Block, inputs: Inputs) -> None:
    with _refusals(block, inputs):
        make_block(connection, block, inputs)
        # What is deferred would else be refused by COMMIT, of which nobody knows whose rows it is about.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    if left := list_missing(connection, block, inputs):
        raise DatabaseError(
            f"block `{block.name}` was made, and yet there is no {', '.join(left)}",
            why="the schema has taken the rows elsewhere: a trigger, a rule, or a guard that met another row",
        )


def _examine(connection: Connection[Any] | None, block: Block, inputs: Inputs, before: dict[str, Outcome]) -> Outcome:
    with _refusals(block, inputs):
        lacking = [] if connection is None else list_missing(connection, block, inputs)
        if connection is not None and not lacking:
            return Outcome(block.name, "there")
        reason = block.skipped(inputs.seed) or next(
            (f"needs {need}, which is skipped" for need in block.needs if before[need].state == "skipped"), ""
        )
        if not reason and connection is not None:
            reason = find_obstacle(connection, block, inputs)
    return Outcome(block.name, "skipped", reason=reason) if reason else Outcome(block.name, "made", tuple(lacking))


def _require_needs(block: Block, blocks: Sequence[Block], outcomes: Mapping[str, Outcome]) -> None:
    built = {one.name for one in blocks}
    for need in block.needs:
        if need not in built and outcomes[need].state == "made":
            raise DatabaseError(
                f"block `{block.name}` needs `{need}`, of which is missing: {', '.join(outcomes[need].made)}",
                hint=f"inv golden.build --only {need}  # or all of them: inv golden.build",
            )
