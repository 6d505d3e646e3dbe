"""
Build the account: all missing blocks, in order, in one transaction.
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
        made: The parts that were missing and were made.
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
        SettingsError: If no block has that name.
    """
    if only is None:
        return BLOCKS
    found = [block for block in BLOCKS if block.name == only]
    if not found:
        raise SettingsError(
            f"block `{only}` does not exist", hint=f"one of: {', '.join(block.name for block in BLOCKS)}"
        )
    return found


def dry_run(connection: Connection[Any] | None, blocks: Sequence[Block], inputs: Inputs) -> list[Outcome]:
    """
    Return what `make_missing` would do, and change nothing.

    Args:
        connection: To the database; None if it does not exist yet.

    Raises:
        DatabaseError: If a block needs another one that neither exists nor would be made.
    """
    return [outcome for _, outcome in _examined(connection, blocks, inputs)]


def make_missing(connection: Connection[Any], blocks: Sequence[Block], inputs: Inputs) -> list[Outcome]:
    """
    Make the missing parts of *blocks* in the caller's transaction; write nothing if nothing is missing.

    Raises:
        DatabaseError: If a block that another one needs does not exist, or a block is incomplete after it was made.
        TwilioError: If a subaccount is needed and cannot be made.
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
    """Yield each of *blocks* with its outcome, determined when its turn comes."""
    outcomes: dict[str, Outcome] = {}
    # Include the blocks that are not built: others depend on whether they exist, or are skipped.
    for block in BLOCKS:
        outcomes[block.name] = outcome = _examine(connection, block, inputs, outcomes)
        if block in blocks:
            if outcome.state == "made":
                _require_needs(block, blocks, outcomes)
            yield block, outcome


@contextmanager
def _refusals(block: Block, inputs: Inputs) -> Iterator[None]:
    """Name the block in errors of the database, without the row that it refused."""
    from psycopg import Error, errors

    def said(error: Error) -> str:
        # Omit the detail: it is the whole row, including the auth token of Twilio. A trigger may quote it, too.
        return mask_secrets(error.diag.message_primary or "", {}, inputs.seed.secrets)

    try:
        yield
    except errors.IntegrityError as error:
        raise DatabaseError(
            f"block `{block.name}` cannot be made: {said(error)}",
            why="the schema requires a value that the block does not set, or a row with the same key exists",
        ) from None
    except errors.RaiseException as error:
        raise DatabaseError(
            f"block `{block.name}` cannot be made: {said(error)}", why="a trigger of the schema raised it"
        ) from None
    except (
        errors.InvalidColumnReference,  # ON CONFLICT names columns that are not unique
        errors.UndefinedColumn,
        errors.UndefinedFunction,
        errors.UndefinedObject,
        errors.UndefinedTable,
        errors.DatatypeMismatch,
        errors.DataError,
    ) as error:
        raise DatabaseError(
            f"block `{block.name}` does not fit the schema: {said(error)}",
            why="it was written for the tables in tasks_lib/loquent/migrations",
            hint="change the block in tasks_lib/loquent/blocks",
        ) from None


def _make(connection: Connection[Any], block: Block, inputs: Inputs) -> None:
    with _refusals(block, inputs):
        make_block(connection, block, inputs)
        # Check deferred constraints now: an error of COMMIT would not say which block it is about.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    if left := list_missing(connection, block, inputs):
        raise DatabaseError(
            f"block `{block.name}` was made, but is still incomplete: {', '.join(left)}",
            why="a trigger or a rule of the schema changed the rows, or another row with the same key exists",
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
    built = {other.name for other in blocks}
    for need in block.needs:
        if need not in built and outcomes[need].state == "made":
            raise DatabaseError(
                f"block `{block.name}` needs block `{need}`, which is incomplete: {', '.join(outcomes[need].made)}",
                hint=f"inv golden.build --only {need}  # or all of them: inv golden.build",
            )
