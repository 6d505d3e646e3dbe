"""Errors: their text, and their codes."""

from __future__ import annotations

from invoke.exceptions import Exit

from tasks_lib import errors
from tasks_lib.errors import GoldentreeError


def test_error_prints_what_why_and_hint():
    """Each part starts on a new line."""
    error = GoldentreeError("no `x`", why="one\ntwo", hint="do\nthen")
    assert str(error) == "error: no `x`\n  one\n  two\nhint: do\n      then"
    assert str(GoldentreeError("no `x`")) == "error: no `x`"


def test_error_is_an_invoke_exit_with_status_1():
    """Invoke prints such an error without a traceback."""
    error = GoldentreeError("no")
    assert isinstance(error, Exit)
    assert (error.code, error.message) == (1, "error: no")


def test_each_error_is_in_the_tree_with_its_own_code():
    """The module docstring lists every class, and no code occurs twice."""
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, GoldentreeError)
    ]
    assert len({error.kind for error in classes}) == len(classes)
    for error in classes:
        assert error.__name__ in errors.__doc__
