"""
Alembic's environment: migrate within the caller's transaction, which holds the lock.
"""

from __future__ import annotations

from alembic import context

from tasks_lib.ledger.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
