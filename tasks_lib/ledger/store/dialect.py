"""
Statements that differ between SQLite and PostgreSQL.
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
    """Return an INSERT with `on_conflict_do_nothing`, which SQLAlchemy implements for each dialect separately."""
    return (postgresql if is_postgres(session) else sqlite).insert(table)
