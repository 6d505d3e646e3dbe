"""Foreign text before it is printed."""

from __future__ import annotations

import sys
import unicodedata

from tasks_lib.escaping import escape_controls

VISIBLE = {"\t", "\n", "\u200c", "\u200d", *"\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"}
VISIBLE |= {"\U000110bd", "\U000110cd"}
"""What stays of the categories: white space, joiners, and signs that are drawn."""


def test_every_control_character_and_invisible_one_is_escaped():
    """As Python's table of Unicode lists them; everything that is drawn stays."""
    for sign in map(chr, range(sys.maxunicode + 1)):
        unsafe = unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and sign not in VISIBLE
        if unsafe or unicodedata.category(sign) != "Cn":
            assert (escape_controls(sign) == sign) is not unsafe, ascii(sign)


def test_escapes_can_be_read_and_line_ends_of_windows_stay_line_ends():
    """An escape is spelled as in Python."""
    assert escape_controls("a\x1b[2J\x07\u202e\udcff\r\nb\tc") == r"a\x1b[2J\x07\u202e\udcff" + "\nb\tc"
