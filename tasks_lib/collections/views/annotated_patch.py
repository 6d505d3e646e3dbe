"""
Print review comments below the lines of a patch.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from tasks_lib.escaping import escape_controls
from tasks_lib.ledger.store.ids import short_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tasks_lib.ledger.schema.review import ReviewComment

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")

Line = tuple[str, str, int]
"""File, type of line, and line number: on the old side for a removed line."""


def annotate_patch(patch: str, comments: Sequence[ReviewComment]) -> str:
    """Return *patch* with each comment below its line, and at the end the comments whose lines it does not show."""
    waiting: dict[Line, list[ReviewComment]] = defaultdict(list)
    for comment in comments:
        waiting[comment.file_path, comment.line_type, comment.line_number].append(comment)
    lines = []
    for text, line in _lines(patch):
        lines += [text, *(_format_comment(comment) for comment in waiting.pop(line, []))] if line else [text]
    rest = [comment for comments in waiting.values() for comment in comments]
    elsewhere = [f"{comment.file_path}:{comment.line_number}\n{_format_comment(comment)}" for comment in rest]
    return "\n".join([*lines, *(["", "on lines that the diff does not show:", *elsewhere] if elsewhere else [])])


def _lines(patch: str) -> Iterator[tuple[str, Line | None]]:
    """Yield the lines of *patch*; lines of files with their place in the file."""
    name, old, new, old_left, new_left = "", 0, 0, 0, 0
    for text in patch.split("\n"):
        sign = text[:1]
        if sign in ("-", " ") and old_left > 0 and (sign == "-" or new_left > 0):
            yield text, (name, "removed", old) if sign == "-" else (name, "context", new)
            old, old_left = old + 1, old_left - 1
            if sign == " ":
                new, new_left = new + 1, new_left - 1
            continue
        if sign == "+" and new_left > 0:
            yield text, (name, "added", new)
            new, new_left = new + 1, new_left - 1
            continue
        if hunk := _HUNK.match(text):
            old, old_left, new, new_left = (int(number) if number else 1 for number in hunk.groups())
        elif text.startswith(("--- a/", "+++ b/")):
            name = text[6:].removesuffix("\t")  # git adds it to names with spaces
        yield text, None


def _format_comment(comment: ReviewComment) -> str:
    # Not left to `output`: through a pipe a patch is printed as it is.
    first, *rest = escape_controls(comment.body).splitlines() or [""]
    mark = f"  » {short_id(comment.id)} {comment.author}: "
    return "\n".join([f"{mark}{first}", *(f"  » {line}" for line in rest)])
