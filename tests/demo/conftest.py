"""Run the demo's commands as child processes, in a folder that shows what they leave."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.fixture
def folder(home, monkeypatch):
    """Give the test its own temporary directory; servers and repositories go there."""
    directory = home / "tmp"
    directory.mkdir()
    directory.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(directory))
    return directory


@pytest.fixture
def start(folder):
    """Return a function that starts `python -m MODULE`, in a pipe as in CI."""

    def start(module, *arguments):
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)

    return start


@pytest.fixture
def run(start):
    """Return a function that runs `python -m MODULE` to its end, and returns its status and what it printed."""

    def run(module, *arguments):
        with start(module, *arguments) as child:
            stdout, stderr = child.communicate()
        return child.returncode, stdout, stderr

    return run
