"""Completion in real shells, set up as `docs/how-to/completion.md` says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[1] / "docs" / "how-to" / "completion.md").read_text()

# What each shell is made to do is what it does on Tab, as far as that goes without a terminal.
PRESS_TAB = {
    "bash": """
        tab() {
            COMP_WORDS=($1) COMPREPLY=()
            "$(complete -p ${1%% *} | sed 's/.* -F \\([^ ]*\\) .*/\\1/')" x "${1##* }" x
            echo ${COMPREPLY[*]}
        }
    """,
    "zsh": """
        tab() {
            words=(${=1}) reply=()
            ${${(z)$(compctl -L ${words[1]})}[(r)_complete_*]}
            echo ${(M)reply:#${words[-1]}*}
        }
    """,
    "fish": """
        function tab
            echo (complete --do-complete $argv)
        end
    """,
}


@pytest.mark.parametrize("shell", [shell for shell in PRESS_TAB if shell == "bash" or shutil.which(shell)])
def test_tasks_and_flags_are_completed(tmp_path, shell):
    """The beginning of a task's name, and that of one of its flags, for both commands."""
    (tmp_path / "tasks.py").write_text("from tasks_lib import ns\n")
    (setup,) = re.findall(rf"```{shell}\n(.*?)```", DOCUMENT, re.DOTALL)
    lines = [f"{command} {typed}" for command in ("inv", "goldentree") for typed in ("db.m", "db.clone --e")]
    script = setup + PRESS_TAB[shell] + "".join(f"\ntab '{line}'" for line in lines)

    result = subprocess.run(
        [shell, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.stdout.splitlines() == ["db.migrate", "--evict"] * 2, result.stderr
