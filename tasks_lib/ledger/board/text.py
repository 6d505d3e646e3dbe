"""
Escape text from the ledger, and format it as HTML.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tasks_lib.output import format_age

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

NONE = '<span class="none">-</span>'

STATES = {
    "completed": "completed",
    "in_progress": "in progress",
    "ready": "ready",
    "waiting": "waiting",
    "planning": "planning",
    "blocked": "blocked",
}
"""The states of tasks and their labels, in display order."""


_RING = '<circle cx="8" cy="8" r="6.5" fill="none" stroke-width="1.6"'
_MARKS = {
    "ready": f'{_RING}/><path d="M6.2 4.8v6.4L11.4 8z"/>',
    "in_progress": f'{_RING}/><path d="M8 1.5a6.5 6.5 0 0 1 0 13z"/>',
    "waiting": f'{_RING} stroke-dasharray="2.6 2.5"/>',
    "planning": '<path d="M2.5 13.5l.8-3.4 7.6-7.6 2.6 2.6-7.6 7.6z" fill="none" stroke-width="1.5"/>',
    "blocked": '<path d="M5 1.5h6L14.5 5v6L11 14.5H5L1.5 11V5z"/><path class="cut" d="M4.5 8h7"/>',
    "completed": '<circle cx="8" cy="8" r="7.3"/><path class="cut" d="M4.6 8.3l2.4 2.4 4.4-5" fill="none"/>',
}
"""The marks of states, besides their colours: 16 by 16 pixels, drawn so that no font is needed."""


def said(text: str | None) -> str:
    """Return *text* escaped and isolated, so that its direction does not affect the text around it."""
    return f"<bdi>{escape(text)}</bdi>" if text else NONE


def code(text: str) -> str:
    """Return an id, path or command as code."""
    return f"<code>{escape(text)}</code>" if text else NONE


def words(name: str) -> str:
    """Return a stored name such as `pending_review` as words."""
    return escape(name.replace("_", " "))


def mark(state: str) -> str:
    """Return the mark of a task's state, which has the meaning of its colour in its shape."""
    return f'<svg class="mark {state}" aria-hidden="true"><use href="#mark-{state}"/></svg>'


def symbols() -> str:
    """Return the definitions of the marks, needed once on a page."""
    drawn = "".join(f'<symbol id="mark-{name}" viewBox="0 0 16 16">{shape}</symbol>' for name, shape in _MARKS.items())
    return f'<svg class="marks" aria-hidden="true">{drawn}</svg>'


def section(name: str, title: str, body: str) -> str:
    """Return a section of the page with the anchor `#name`."""
    return f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{body}</section>'


def badge(state: str, label: str = "") -> str:
    """Return *state* as a badge with the text *label*, by default the state itself."""
    return f'<span class="badge {escape(state)}">{words(label or state)}</span>'


def ago(moment: datetime, taken: datetime) -> str:
    """Return how long before *taken* something happened; the page's script keeps it current."""
    past = format_age(max(0.0, (taken - moment).total_seconds()))
    return f'<time datetime="{moment.isoformat()}" title="{moment:%Y-%m-%d %H:%M} UTC">{past} ago</time>'


def written(text: str | None) -> str:
    """Return a longer text with its line breaks."""
    return f'<p class="said" dir="auto">{escape(text)}</p>' if text else ""


def table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], ids: Sequence[str] = ()) -> str:
    """Return a table whose first column is a row heading; on a narrow screen each cell shows its column's heading."""
    lines = []
    for number, (first, *cells) in enumerate(rows):
        id_ = f' id="{ids[number]}"' if ids else ""
        rest = "".join(
            f'<td data-heading="{heading}">{cell}</td>' for heading, cell in zip(headings[1:], cells, strict=True)
        )
        lines.append(f'<tr{id_}><th scope="row">{first}</th>{rest}</tr>')
    top = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    return f"<table><caption>{caption}</caption><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
