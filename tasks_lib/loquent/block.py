"""
A block is one part of the account: it knows what is missing and how to make it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from psycopg import Connection

    from tasks_lib.loquent.seed_env import Seed
    from tasks_lib.loquent.twilio import Account, Number

SLUG = "loquent-dev"
"""The slug of the organization that is made if the owner has none."""


@dataclass(frozen=True)
class Inputs:
    """
    The values that blocks need from outside the database.

    Attributes:
        numbers: The shared account's phone numbers; None if Twilio was not asked.
        hash_of: Writes the password of an email to the credentials file and returns its hash.
        twilio: Returns the account to connect the organization to; called only if `seed.env` configures one.
    """

    seed: Seed
    hash_of: Callable[[str], str]
    twilio: Callable[[], Account]
    numbers: tuple[Number, ...] | None = None


def _nothing(connection: Connection[Any], values: Mapping[str, Any], inputs: Inputs) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Block:
    """
    One part of the account, in SQL; `read_values` returns the parameters that its statements may use.

    Attributes:
        name: Its name for `--only`.
        missing: A query that returns a text for each missing part; no rows once the block is complete.
        make: Statements that make what is missing and leave existing rows alone.
        wanted: The WITH clause with which *missing* and *make* begin.
        parameters: Further parameters.
        prepare: Returns parameters that must be looked up before the block is made.
        needs: The blocks whose rows it refers to.
        skipped: Returns why the configuration skips it; empty if it does not.
        obstacle: A query that returns why it cannot be made on this database; no row if it can. It also runs before
            the blocks that this one needs are made.
    """

    name: str
    missing: LiteralString
    make: tuple[LiteralString, ...]
    wanted: LiteralString = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Connection[Any], Mapping[str, Any], Inputs], Mapping[str, Any]] = _nothing
    needs: tuple[str, ...] = ()
    skipped: Callable[[Seed], str] = lambda _: ""
    obstacle: LiteralString = ""


_BEARINGS: LiteralString = """
WITH people AS (
    SELECT
        (SELECT id FROM "user" WHERE email = %(owner)s) AS owner_id,
        (SELECT id FROM "user" WHERE email = %(staff)s) AS staff_id
), account AS (
    SELECT people.*, coalesce(
        (SELECT organization_id FROM member WHERE user_id = owner_id AND is_owner ORDER BY joined_at, id LIMIT 1),
        (SELECT id FROM organization WHERE slug = %(slug)s)
    ) AS organization_id
    FROM people
)
SELECT
    account.*, owner.id AS owner_member_id, staff.id AS staff_member_id,
    (SELECT email FROM member JOIN "user" ON "user".id = user_id
     WHERE organization_id = account.organization_id AND is_owner
     ORDER BY email <> %(owner)s, email LIMIT 1) AS owned_by
FROM account
LEFT JOIN member AS owner ON owner.organization_id = account.organization_id AND owner.user_id = owner_id
LEFT JOIN member AS staff ON staff.organization_id = account.organization_id AND staff.user_id = staff_id
"""


def read_values(connection: Connection[Any], inputs: Inputs) -> dict[str, Any]:
    """
    Return the parameters of all blocks' statements: the configuration, and the current ids of its users.

    The account is the organization that the owner's email owns, else the one with the slug `SLUG`.

    Raises:
        DatabaseError: If that organization belongs to another user.
    """
    from psycopg.rows import dict_row

    seed = inputs.seed
    configured: dict[str, Any] = {
        "owner": seed.owner_email,
        "staff": seed.staff_email,
        "slug": SLUG,
        "twilio_sid": seed.shared.account.sid if seed.shared else None,
        "numbers": None if inputs.numbers is None else json.dumps([asdict(number) for number in inputs.numbers]),
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_BEARINGS, configured).fetchone() or {}
    if found["owned_by"] not in (None, seed.owner_email):
        raise DatabaseError(
            f"the organization `{SLUG}` belongs to {found['owned_by']}",
            why=f"seed.env names {seed.owner_email} as its owner, and an organization has one owner",
            hint=f"set SEED_OWNER_EMAIL={found['owned_by']} in seed.env",
        )
    return {**configured, **found}


def list_missing(connection: Connection[Any], block: Block, inputs: Inputs) -> list[str]:
    """Return the missing parts of *block*."""
    known = {**read_values(connection, inputs), **block.parameters}
    return [row[0] for row in connection.execute(block.wanted + block.missing, known)]


def make_block(connection: Connection[Any], block: Block, inputs: Inputs) -> None:
    """Make the missing parts of *block*."""
    known = {**read_values(connection, inputs), **block.parameters}
    known |= block.prepare(connection, known, inputs)
    for statement in block.make:
        connection.execute(block.wanted + statement, known)


def find_obstacle(connection: Connection[Any], block: Block, inputs: Inputs) -> str:
    """Return why *block* cannot be made on this database; empty if it can."""
    if not block.obstacle:
        return ""
    row = connection.execute(block.obstacle, read_values(connection, inputs)).fetchone()
    return row[0] if row else ""
