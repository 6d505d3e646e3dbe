"""
`python -m tasks_lib` is the binary `goldentree`, for whom its directory is not on PATH.

In a worktree of a foreign branch, `python -P -m tasks_lib`: without `-P`, Python looks for `tasks_lib` in the current
directory first.
"""

import sys
from pathlib import Path

if not sys.flags.safe_path and sys.path and sys.path[0] in ("", str(Path.cwd())):
    del sys.path[0]  # or every module that is imported from here on could come from there

from tasks_lib.program import main

main()
