"""
Where SQLite and PostgreSQL differ in a statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def is_postgres(session: Session) -> bool:
    """Whether the ledger of *session* is on PostgreSQL."""
    return session.get_bind().dialect.name == "postgresql"


def insert(session: Session, table: Any) -> Any:
    """Return an INSERT that has `on_conflict_do_nothing`, which the two spell alike and SQLAlchemy apart."""
    return (postgresql if is_postgres(session) else sqlite).insert(table)
