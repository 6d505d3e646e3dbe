"""
Make foreign text harmless for a terminal: text of a branch, a row, another agent, or a child process.

A terminal obeys control sequences: they write its clipboard, hide lines and forge others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Every character of the categories Cc, Cf, Cs, Zl and Zp in Unicode 16, except tab, line feed, the joiners
# U+200C and U+200D, which emoji and Persian need, and the visible signs of Arabic, Syriac and Kaithi.
# tests/test_escaping.py compares it with Python's table.
_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 controls
    "\xad\u061c\u180e\u200b\u200e\u200f\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, or changes the direction
    "\u2028-\u202e"  # line separators, and overrides of the direction
    "\ud800-\udfff"  # bytes that are not UTF-8
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f"
    "]"
)

COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
"""The sequences that change nothing but how following text looks (SGR)."""


def escape_unsafe(text: str, escape: Callable[[str], str]) -> str:
    """Return *text* with *escape* applied to each control character, and each invisible one."""
    return _UNSAFE.sub(lambda found: escape(found[0]), text)


def escape_controls(text: str) -> str:
    """Return *text* with escapes for control characters and invisible ones; tabs and line ends stay."""
    return escape_unsafe(text.replace("\r\n", "\n"), lambda sign: ascii(sign)[1:-1])


def escape_line(text: str) -> str:
    """Return *text* as `escape_controls` does, in one line."""
    return escape_controls(text).replace("\n", "\\n")


def indent_rest(text: str, margin: str = "  ") -> str:
    """Return *text*, escaped, with *margin* before all lines but the first: no line looks like one of ours."""
    first, *rest = escape_controls(text).split("\n")
    return "\n".join([first, *(line if line.startswith(margin) else f"{margin}{line}".rstrip() for line in rest)])
