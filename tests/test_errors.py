"""Errors: how they read, and that every one has a code of its own."""

from __future__ import annotations

from invoke.exceptions import Exit

from tasks_lib import errors
from tasks_lib.errors import GoldentreeError


def test_how_it_reads():
    """What, why and hint, each on lines of its own."""
    error = GoldentreeError("no `x`", why="one\ntwo", hint="do\nthen")
    assert str(error) == "error: no `x`\n  one\n  two\nhint: do\n      then"
    assert str(GoldentreeError("no `x`")) == "error: no `x`"


def test_invoke_prints_it_and_exits_with_1():
    """Any other status Invoke would not keep."""
    error = GoldentreeError("no")
    assert isinstance(error, Exit)
    assert (error.code, error.message) == (1, "error: no")


def test_the_tree():
    """Every class is in the module's picture, with a code that no other has."""
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, GoldentreeError)]
    assert len({one.kind for one in found}) == len(found)
    for one in found:
        assert one.__name__ in errors.__doc__
