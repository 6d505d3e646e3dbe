"""Errors: their text, and their codes."""

from __future__ import annotations

import errno
import os

import pytest
from invoke.exceptions import Exit

from tasks_lib import errors
from tasks_lib.errors import GoldentreeError, MachineError, machine_errors


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EACCES])
def test_error_of_the_machine_names_path_reason_and_cure(number):
    """What could not be undone is part of it."""
    cause = OSError(number, os.strerror(number), "/folder of/file")
    cause.add_note("could not undo `it`: no")
    with pytest.raises(MachineError) as caught, machine_errors():
        raise cause
    assert caught.value.what == f"`/folder of/file`: {os.strerror(number)}"
    assert caught.value.why == "could not undo `it`: no"
    assert "run the same command" in caught.value.hint


def test_error_of_the_machine_without_a_path_is_still_clear():
    """Not every call names a file: sockets, threads, a temporary directory that is looked for."""
    causes = {
        OSError(errno.EMFILE, "Too many open files"): "too many open files",
        RuntimeError("can't start new thread"): "no more threads can be started",
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/x']"): "No usable temporary",
        MemoryError(): "no memory is left",
    }
    for cause, what in causes.items():
        with pytest.raises(MachineError, match=what) as caught, machine_errors():
            raise cause
        assert caught.value.hint


def test_error_that_may_be_a_bug_keeps_its_traceback():
    """A missing file and a wrong call are not the machine's."""
    for cause in (
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        OSError(errno.EINVAL, "Invalid"),
        RuntimeError("no"),
    ):
        with pytest.raises(type(cause)), machine_errors():
            raise cause


def test_a_file_that_vanished_is_an_expected_failure(tmp_path):
    """Another process may delete a file between two looks at it."""
    with pytest.raises(MachineError) as caught, machine_errors():
        (tmp_path / "gone").read_text()
    assert caught.value.what == f"`{tmp_path}/gone` no longer exists"
    assert "run the same command again" in caught.value.hint
