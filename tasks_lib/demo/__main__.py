"""`python -m tasks_lib.demo`: the whole workflow on a throwaway repository and server."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from tasks_lib.demo.command import exit_status
from tasks_lib.demo.story import tell

parser = argparse.ArgumentParser(
    prog="python -m tasks_lib.demo", description="Show what `inv worktree.create` does, on a throwaway repository."
)
parser.add_argument("--keep", action="store_true", help="keep repository and server, and print how to continue by hand")
sys.exit(exit_status(partial(tell, keep=parser.parse_args().keep)))
