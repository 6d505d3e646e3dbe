"""
The base of all repositories: create, find, change and delete rows in the caller's transaction.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sqlalchemy as sa

from tasks_lib.errors import ConflictError, LedgerError, NotFoundError
from tasks_lib.ledger.schema.base import Created, Timestamped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from tasks_lib.ledger.store.clock import Clock

Row = TypeVar("Row", bound=Created)

LINES = ("name", "title")
"""Fields printed in lists and trees: a single line without control characters."""

PREFIX = 4
"""The minimum length of an abbreviated id."""


class Repository(Generic[Row]):
    """
    The rows of one table.

    Attributes:
        row: The entity.
        noun: What errors call a row.
        listing: The command that lists the rows, if it is not `NOUN.list`; empty if none does.
    """

    row: type[Row]
    noun: str
    listing: str | None = None

    def __init__(self, session: Session, clock: Clock) -> None:
        self.session = session
        self.clock = clock

    def create(self, **values: Any) -> Row:
        """
        Add a row with *values*; its id and timestamps are generated.

        Raises:
            TypeError: If a field is unknown or missing.
            LedgerError: If a value is invalid.
            ConflictError: If a unique key is taken, or a foreign key does not exist.
        """
        moment = self.clock()
        stamps = {"created_at": moment} | ({"updated_at": moment} if issubclass(self.row, Timestamped) else {})
        row = self.row(**{**stamps, **self._checked(values)})
        self.session.add(row)
        self._flush()
        return row

    def find_by_id(self, id: str) -> Row | None:
        """Return the row *id*, None if it does not exist."""
        return self._first(self._select().where(self.row.id == id))

    def require(self, id: str) -> Row:
        """
        Return the row *id*.

        Raises:
            NotFoundError: If it does not exist.
        """
        row = self.find_by_id(id)
        if row is None:
            raise self._missing(id)
        return row

    def hold(self, id: str) -> Row:
        """
        Return the row *id*, locked so that no other transaction changes it before this one ends.

        Raises:
            NotFoundError: If it does not exist.
        """
        # SQLite has one writer, and drops the clause.
        row = self._first(self._select().where(self.row.id == id).with_for_update(of=self.row, key_share=True))
        if row is None:
            raise self._missing(id)
        return row

    def named(self, name: str) -> Row:
        """
        Return the row whose id is, or begins with, *name*.

        Raises:
            NotFoundError: If no id matches.
            ConflictError: If several ids match.
        """
        if row := self.find_by_id(name):
            return row
        found: Sequence[Row] = []
        if len(name) >= PREFIX:
            # Not LIKE, which ignores case on SQLite.
            found = self._all(self._select().where(sa.func.substr(self.row.id, 1, len(name)) == name).limit(2))
        if len(found) > 1:
            raise ConflictError(f"several {self.noun}s begin with `{name}`", hint="type more of the id")
        if not found:
            raise self._missing(name)
        return found[0]

    def find_all(self, **equals: Any) -> list[Row]:
        """
        Return the rows whose fields equal *equals*, None meaning NULL.

        Raises:
            TypeError: If a field is unknown.
        """
        return self._all(self._select().filter_by(**self._checked(equals)).order_by(*self._order()))

    def update(self, id: str, **values: Any) -> Row:
        """
        Change the given fields and no others; None sets NULL.

        Raises:
            NotFoundError: If the row does not exist.
            TypeError, LedgerError, ConflictError: As `create`.
        """
        row = self.hold(id)
        for name, value in self._checked(values, fixed={"id", "created_at", "updated_at"}).items():
            setattr(row, name, value)
        if isinstance(row, Timestamped):
            row.updated_at = self.clock()
        self._flush()
        return row

    def delete(self, id: str) -> None:
        """
        Delete a row, and the rows that the schema cascades to.

        Raises:
            NotFoundError: If it does not exist.
        """
        # By statement, then empty the session: it must not keep rows that the database deleted by cascade.
        if not self.session.execute(sa.delete(self.row).where(self.row.id == id)).rowcount:  # type: ignore[attr-defined]
            raise self._missing(id)
        self.session.expunge_all()

    def _refuse_cycle(self, id: str, above: str | None, up: str) -> None:
        """
        Refuse a parent that is the row itself, or below it.

        Args:
            up: The field that names a row's parent.
        """
        while above is not None:
            if above == id:
                raise ConflictError(f"{self.noun} `{id}` cannot be moved below itself")
            above = getattr(self.hold(above), up)

    def _order(self) -> tuple[Any, ...]:
        """Return the sort order of lists; it ends with the id so that it is total."""
        return self.row.created_at, self.row.id

    def _select(self) -> sa.Select[Row]:
        return sa.select(self.row).execution_options(populate_existing=True)

    def _all(self, select: sa.Select[Row]) -> list[Row]:
        return list(self.session.scalars(select))

    def _first(self, select: sa.Select[Row]) -> Row | None:
        return self.session.scalars(select.limit(1)).first()

    def _checked(self, values: dict[str, Any], fixed: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
        """Validate *values*, and convert texts to enums."""
        attributes = sa.inspect(self.row).column_attrs
        checked = {}
        for name, value in values.items():
            column = attributes[name].columns[0] if name in attributes else None
            if not isinstance(column, sa.Column) or name in fixed:
                raise TypeError(f"a {self.noun} has no field `{name}` that can be set")
            enum = getattr(column.type, "enum_class", None)
            if enum and value is not None and value not in [*enum]:
                raise LedgerError(f"`{value}` is not a {name} of a {self.noun}", why=f"one of: {', '.join(enum)}")
            checked[name] = enum(value) if enum and value is not None else value
            # SQLite stores any type in any column.
            if value is not None and not isinstance(checked[name], column.type.python_type):
                raise LedgerError(f"the {name} of a {self.noun} cannot be a {type(value).__name__}")
            if name in LINES and value is not None and not _is_line(value):
                raise LedgerError(
                    f"the {name} of a {self.noun} is empty"
                    if not value.strip()
                    else f"the {name} of a {self.noun} must be a single line",
                    why="lists and trees print it; longer text goes into the description",
                )
            # PostgreSQL cannot store it.
            if isinstance(value, str) and "\0" in value:
                raise LedgerError(f"the {name} of a {self.noun} contains a NUL character")
        return checked

    def _flush(self) -> None:
        try:
            self.session.flush()
        except sa.exc.IntegrityError as error:
            raise refused(error, self.noun) from None

    def _missing(self, id: str) -> NotFoundError:
        listing = f"inv {self.noun}.list" if self.listing is None else self.listing
        return NotFoundError(f"{self.noun} `{id}` does not exist", hint=listing)


def _is_line(text: str) -> bool:
    return bool(text.strip()) and not any(unicodedata.category(character) == "Cc" for character in text)


def refused(error: sa.exc.IntegrityError, noun: str) -> ConflictError:
    """Return the error for a row that the schema refuses. It names columns or constraints, never values."""
    # Only the first line: PostgreSQL's DETAIL line quotes the row.
    return ConflictError(f"the ledger refuses this {noun}", why=str(error.orig).splitlines()[0])
