"""
Building the account: every block that is not there, in order, in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tasks_lib.errors import DatabaseError, SettingsError
from tasks_lib.loquent.block import make, missing, obstacle
from tasks_lib.loquent.blocks import BLOCKS

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def chosen(only: str | None) -> Sequence[Block]:
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


def foresee(connection: Connection[Any] | None, blocks: Sequence[Block], inputs: Inputs) -> list[Outcome]:
    """
    Return what `fill` would do, without doing it.

    Args:
        connection: To the database; None where there is none yet.

    Raises:
        DatabaseError: If what a block refers to neither is there nor would be made.
    """
    outcomes: dict[str, Outcome] = {}
    for block in blocks:
        if connection is not None:
            _require_needs(connection, block, blocks, inputs)
        outcomes[block.name] = _examine(connection, block, inputs, outcomes)
    return list(outcomes.values())


def fill(connection: Connection[Any], blocks: Sequence[Block], inputs: Inputs) -> list[Outcome]:
    """
    Make what is missing of *blocks*, in the caller's transaction; where nothing is, nothing is written.

    Raises:
        DatabaseError: If what a block refers to is not there, or a block is incomplete after it was made.
        TwilioError: If a subaccount has to be made, and cannot.
    """
    outcomes: dict[str, Outcome] = {}
    for block in blocks:
        _require_needs(connection, block, blocks, inputs)
        outcomes[block.name] = _examine(connection, block, inputs, outcomes)
        if outcomes[block.name].state == "made":
            _make(connection, block, inputs)
    return list(outcomes.values())


def _make(connection: Connection[Any], block: Block, inputs: Inputs) -> None:
    make(connection, block, inputs)
    if left := missing(connection, block, inputs):
        raise DatabaseError(
            f"block `{block.name}` was made, and yet there is no {', '.join(left)}",
            why="the schema has taken the rows elsewhere: a trigger, a rule, or a guard that met another row",
        )


def _examine(connection: Connection[Any] | None, block: Block, inputs: Inputs, before: dict[str, Outcome]) -> Outcome:
    lacking = [] if connection is None else missing(connection, block, inputs)
    if connection is not None and not lacking:
        return Outcome(block.name, "there")
    needed = [before[need] for need in block.needs if need in before]
    reason = block.skipped(inputs.seed) or next(
        (f"needs {one.block}, which is skipped" for one in needed if one.state == "skipped"), ""
    )
    # What an earlier block would make is not yet there to be asked for.
    if not reason and connection is not None and all(not missing(connection, one, inputs) for one in _needs(block)):
        reason = obstacle(connection, block, inputs)
    return Outcome(block.name, "skipped", reason=reason) if reason else Outcome(block.name, "made", tuple(lacking))


def _needs(block: Block) -> list[Block]:
    return [one for one in BLOCKS if one.name in block.needs]


def _require_needs(connection: Connection[Any], block: Block, blocks: Sequence[Block], inputs: Inputs) -> None:
    for need in _needs(block):
        if need not in blocks and (lacking := missing(connection, need, inputs)):
            raise DatabaseError(
                f"block `{block.name}` needs `{need.name}`, of which is missing: {', '.join(lacking)}",
                hint=f"inv golden.build --only {need.name}  # or all of them: inv golden.build",
            )
