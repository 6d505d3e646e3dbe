"""
The standalone binary: the same tasks in any git repository, without a `tasks.py`.
"""

from __future__ import annotations

import re
import signal
import sys

from invoke.program import Program

from tasks_lib import __version__
from tasks_lib.collections import LEDGER, ns
from tasks_lib.errors import MachineError, machine_errors
from tasks_lib.output import silence

OVERVIEW = f"""\
goldentree {__version__}: a worktree, a database and an env file for every git branch

To begin
  goldentree doctor                  find what is missing, and what fixes it
  goldentree init                    write the configuration files
  goldentree demo                    see it work, on a throwaway repository

Branches
  goldentree worktree.create BRANCH  create a worktree with its own database
  goldentree worktree.list           list the worktrees and their states
  goldentree worktree.status         show the current worktree in detail
  goldentree worktree.remove BRANCH  remove one; worktree.undo restores it
  goldentree worktree.gc             list orphaned worktrees and databases

The current worktree's database: db.status, db.migrate, db.reset, db.psql
The template of all databases:   golden.status, golden.promote, golden.pull
Agents that share tasks:         task.list, agent.list, ledger.board

goldentree --list                  all commands
goldentree --help worktree.create  one command in detail"""

_GROUPS = {
    "To begin": ("init", "doctor", "demo", "config"),
    "Branches": ("worktree",),
    "Databases": ("db", "golden", "server"),
    "Agents": tuple(module.__name__.rpartition(".")[2] for module in LEDGER),
}
"""The first words of the commands' names, by the heading under which `--list` shows them."""


class _Goldentree(Program):
    """Invoke's program, which shows a newcomer the main commands, and groups the list of all."""

    def parse_cleanup(self) -> None:
        # So that `goldentree --list | head` ends without a traceback; a task undoes its work instead.
        before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        super().parse_cleanup()
        signal.signal(signal.SIGPIPE, before)

    def no_tasks_given(self) -> None:
        print(OVERVIEW)

    def list_flat(self) -> None:
        if self.list_root or self.list_depth:
            super().list_flat()
            return
        pairs = self._make_pairs(self.scoped_collection)
        for heading, words in _GROUPS.items():
            print(f"{heading}:\n")
            self.print_columns([pair for word in words for pair in pairs if re.match(rf"{word}\b", pair[0])])


def main() -> None:
    """Run the binary `goldentree`."""
    try:
        with machine_errors():
            _Goldentree(namespace=ns, name="goldentree", binary="goldentree", version=__version__).run()
    except MachineError as error:  # outside of a task: help on a full disk, a HOME that is a file
        silence(sys.stdout)
        print(error, file=sys.stderr)
        sys.exit(error.status)
