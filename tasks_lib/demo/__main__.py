"""`python -m tasks_lib.demo`: the whole story on a throwaway repository and a throwaway server."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from tasks_lib.demo.command import exit_status
from tasks_lib.demo.story import tell

parser = argparse.ArgumentParser(
    prog="python -m tasks_lib.demo", description="Show what `inv worktree.create` does, on a throwaway repository."
)
parser.add_argument("--keep", action="store_true", help="leave repository and server, and say how to go on by hand")
sys.exit(exit_status(partial(tell, keep=parser.parse_args().keep)))
