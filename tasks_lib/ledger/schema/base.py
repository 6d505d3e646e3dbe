"""
The base of all tables: ids, timestamps, named constraints.
"""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

ALPHABET = string.ascii_lowercase + string.digits
"""The characters of ids, which go into branch names and after flags: one case, and no `-`, which begins options."""

ID_LENGTH = 21
"""The length of an id: 108 random bits, as long as a nanoid (https://github.com/ai/nanoid)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id() -> str:
    """Return a new id."""
    return "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))


class UtcTime(sa.types.TypeDecorator[datetime]):
    """
    A time, stored as microseconds since 1970 and read as an aware datetime in UTC.

    SQLite has no type for it, and SQLAlchemy's `DateTime` returns naive values there.
    """

    impl = sa.BigInteger
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """The type of the values in rows."""
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        """Return the stored value for *value*, which must be aware."""
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        """Return the time for a stored value."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """
    A row: a plain dataclass once its transaction has ended.

    It has no relationships on purpose, because the database cascades.
    """

    metadata = sa.MetaData(
        # SQLite can drop only named constraints, and Alembic's batch mode loses unnamed ones.
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - as SQLAlchemy wants it
        str: sa.Text,
        datetime: UtcTime,
        dict[str, Any]: sa.JSON(none_as_null=True),
    }


def choice(enum: type[StrEnum], check: str = "") -> sa.Enum:
    """Return the column type for *enum*: text with a check for its values, named *check* or after the enum."""
    return sa.Enum(
        enum,
        name=check or enum.__name__.lower(),
        native_enum=False,
        create_constraint=True,
        length=30,
        values_callable=lambda members: [member.value for member in members],
    )


def reference(column: str, ondelete: str) -> sa.ForeignKey:
    """Return a foreign key to `table.column` that cascades or sets null when that row is deleted."""
    return sa.ForeignKey(column, ondelete=ondelete)


class Identified(MappedAsDataclass, kw_only=True):
    """A row with an id."""

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_id, sort_order=-1)


class Created(Identified, kw_only=True):
    """A row with the time of its creation."""

    created_at: Mapped[datetime] = mapped_column(sort_order=1)


class Timestamped(Created, kw_only=True):
    """A row with the times of its creation and last change."""

    updated_at: Mapped[datetime] = mapped_column(sort_order=2)


def document(row: Base) -> dict[str, Any]:
    """
    Return *row* for JSON: its columns by name, with times in ISO 8601.

    The value of a secret column is replaced by whether it is set.
    """
    values: dict[str, Any] = {}
    for attribute in sa.inspect(type(row)).column_attrs:
        column, value = attribute.columns[0], getattr(row, attribute.key)
        if isinstance(column, sa.Column) and column.info.get("secret"):
            value = value is not None
        values[attribute.key.rstrip("_")] = value.isoformat() if isinstance(value, datetime) else value
    return values
