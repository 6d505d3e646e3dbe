"""
The schema: 19 tables, each declared once, as table, entity and type.

The tables are those of seed 003, in snake case; what it leaves open says so where it is declared.
"""

from __future__ import annotations

from tasks_lib.ledger.schema import agents, documents, errands, review, talk, work
from tasks_lib.ledger.schema.base import Base, document, new_id

__all__ = ["Base", "agents", "document", "documents", "errands", "new_id", "review", "talk", "work"]
