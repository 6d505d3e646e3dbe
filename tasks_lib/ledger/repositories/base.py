"""
What every repository can do: make, find, change and delete rows, within the caller's transaction.
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
"""Fields that stand in lists and trees: text without line breaks and what else moves a terminal's cursor."""

PREFIX = 4
"""Fewest characters by which an id can be named."""


class Repository(Generic[Row]):
    """
    The rows of one table.

    Attributes:
        row: The entity.
        noun: What one of them is called.
        listing: The command that shows them, where it is not `NOUN.list`; empty where there is none.
    """

    row: type[Row]
    noun: str
    listing: str | None = None

    def __init__(self, session: Session, clock: Clock) -> None:
        self.session = session
        self.clock = clock

    def create(self, **values: Any) -> Row:
        """
        Make a row of *values*; id and moments are filled in.

        Raises:
            TypeError: If there is no such field, or one is missing.
            LedgerError: If a field does not take that value.
            ConflictError: If a key is taken, or names nothing.
        """
        moment = self.clock()
        stamps = {"created_at": moment} | ({"updated_at": moment} if issubclass(self.row, Timestamped) else {})
        row = self.row(**{**stamps, **self._checked(values)})
        self.session.add(row)
        self._flush()
        return row

    def find_by_id(self, id: str) -> Row | None:
        """Return the row *id*, None if there is none."""
        return self._first(self._select().where(self.row.id == id))

    def require(self, id: str) -> Row:
        """
        Return the row *id*.

        Raises:
            NotFoundError: If there is none.
        """
        row = self.find_by_id(id)
        if row is None:
            raise self._missing(id)
        return row

    def hold(self, id: str) -> Row:
        """
        Return the row *id*, which nobody else changes until we have committed: what it says can be relied on.

        Raises:
            NotFoundError: If there is none.
        """
        # SQLite has one writer, and drops the clause.
        row = self._first(self._select().where(self.row.id == id).with_for_update(of=self.row, key_share=True))
        if row is None:
            raise self._missing(id)
        return row

    def named(self, name: str) -> Row:
        """
        Return the row that a person means by *name*: an id, or its beginning.

        Raises:
            NotFoundError: If there is none.
            ConflictError: If several ids begin so.
        """
        if row := self.find_by_id(name):
            return row
        found: Sequence[Row] = []
        if len(name) >= PREFIX:
            # Not LIKE, which on SQLite takes `A` for `a`.
            found = self._all(self._select().where(sa.func.substr(self.row.id, 1, len(name)) == name).limit(2))
        if len(found) > 1:
            raise ConflictError(f"several {self.noun}s begin with `{name}`", hint="give more of the id")
        if not found:
            raise self._missing(name)
        return found[0]

    def find_all(self, **equals: Any) -> list[Row]:
        """
        Return the rows whose fields equal *equals*, None meaning NULL.

        Raises:
            TypeError: If there is no such field.
        """
        return self._all(self._select().filter_by(**self._checked(equals)).order_by(*self._order()))

    def update(self, id: str, **values: Any) -> Row:
        """
        Change the given fields and no others; None sets NULL.

        Raises:
            NotFoundError: If there is no such row.
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
        Delete a row, with what the schema cascades to.

        Raises:
            NotFoundError: If there is none, as the second time.
        """
        # By statement, and with the session emptied: what the database cascades to must not linger there.
        if not self.session.execute(sa.delete(self.row).where(self.row.id == id)).rowcount:  # type: ignore[attr-defined]
            raise self._missing(id)
        self.session.expunge_all()

    def _refuse_circle(self, id: str, above: str | None, up: str) -> None:
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
        """Return what lists are sorted by; the id at its end makes the order whole."""
        return self.row.created_at, self.row.id

    def _select(self) -> sa.Select[Row]:
        return sa.select(self.row).execution_options(populate_existing=True)

    def _all(self, select: sa.Select[Row]) -> list[Row]:
        return list(self.session.scalars(select))

    def _first(self, select: sa.Select[Row]) -> Row | None:
        return self.session.scalars(select.limit(1)).first()

    def _checked(self, values: dict[str, Any], fixed: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
        """Return *values* with enums made of their texts."""
        attributes = sa.inspect(self.row).column_attrs
        checked = {}
        for name, value in values.items():
            column = attributes[name].columns[0] if name in attributes else None
            if not isinstance(column, sa.Column) or name in fixed:
                raise TypeError(f"a {self.noun} has no field `{name}` to be given")
            enum = getattr(column.type, "enum_class", None)
            if enum and value is not None and value not in [*enum]:
                raise LedgerError(f"`{value}` is no {name} of a {self.noun}", why=f"one of: {', '.join(enum)}")
            checked[name] = enum(value) if enum and value is not None else value
            # SQLite keeps anything in any column.
            if value is not None and not isinstance(checked[name], column.type.python_type):
                raise LedgerError(f"{name} of a {self.noun} is no {type(value).__name__}")
            if name in LINES and value is not None and not _is_line(value):
                raise LedgerError(
                    f"the {name} of a {self.noun} is empty"
                    if not value.strip()
                    else f"the {name} of a {self.noun} is no line",
                    why="lists and trees show it; what needs more goes into a description",
                )
            # PostgreSQL keeps none.
            if isinstance(value, str) and "\0" in value:
                raise LedgerError(f"the {name} of a {self.noun} holds a NUL", why="that is no text")
        return checked

    def _flush(self) -> None:
        try:
            self.session.flush()
        except sa.exc.IntegrityError as error:
            raise refused(error, self.noun) from None

    def _missing(self, id: str) -> NotFoundError:
        listing = f"inv {self.noun}.list" if self.listing is None else self.listing
        return NotFoundError(f"there is no {self.noun} `{id}`", hint=listing)


def _is_line(text: str) -> bool:
    return bool(text.strip()) and not any(unicodedata.category(character) == "Cc" for character in text)


def refused(error: sa.exc.IntegrityError, noun: str) -> ConflictError:
    """Return the error for a row that the schema refuses; it names columns or constraints, never values."""
    # PostgreSQL's second line, its DETAIL, quotes the row.
    return ConflictError(f"the ledger refuses this {noun}", why=str(error.orig).splitlines()[0])
