"""
The schema: 19 tables, each declared once as table, entity and type.

Some columns are written by no task, such as `exit_code` of agents: Python programs set them, and the JSON documents of
rows contain them.
"""

from __future__ import annotations

from tasks_lib.ledger.schema import agents, documents, errands, review, talk, work
from tasks_lib.ledger.schema.base import Base, document, new_id

__all__ = ["Base", "agents", "document", "documents", "errands", "new_id", "review", "talk", "work"]
