"""The program without a process of its own: what is printed and parsed is the same, in a tenth of the time."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from tasks_lib.program import main


@pytest.fixture
def program(monkeypatch, capsys):
    """Give a function that runs the binary's `main` in a directory, and returns what a process would leave."""

    def run(path, *arguments, text=""):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(path)
            patch.setattr(sys, "argv", ["goldentree", *arguments])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
            try:
                main()
                status = 0
            except SystemExit as exit_:
                status = exit_.code or 0
        said = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=said.out, stderr=said.err)

    return run
