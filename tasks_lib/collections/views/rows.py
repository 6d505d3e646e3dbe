"""
Convert rows of the ledger to JSON and to lines of text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.ledger.store.ids import short_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tasks_lib.ledger.schema.work import Task


def row_for_json(row: Any) -> dict[str, Any]:
    """Return *row* as a JSON object, without the values of secret columns."""
    from tasks_lib.ledger.schema import document

    return document(row)


def rows_for_json(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """Return *rows* as JSON objects, without the values of secret columns."""
    return [row_for_json(row) for row in rows]


def ready_pairs(tasks: Iterable[Task]) -> list[tuple[str, str]]:
    """Return the lines, for `output.pairs`, that name tasks which became ready."""
    return [("ready", f"{short_id(task.id)}  {task.name}") for task in tasks]
