"""
Ids of rows, for programs that do not load SQLAlchemy as well.
"""

from __future__ import annotations


def short_id(id: str) -> str:
    """Return the beginning of an id, enough to name its row."""
    return id[:8]
