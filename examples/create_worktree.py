"""Create a worktree for a branch, use it, and remove it again: `python create_worktree.py REPOSITORY BRANCH`."""

from __future__ import annotations

import sys

from tasks_lib import GoldentreeError, create_worktree, list_worktrees, open_project, remove_worktree


def main(repository: str, branch: str) -> int:
    """Return the exit status."""
    try:
        project = open_project(repository)
        record = create_worktree(project, branch)
        print(f"{record.path} uses {record.identity.database} on {record.server}")
        print(f"worktrees: {', '.join(str(row.branch) for row in list_worktrees(project))}")
        removal = remove_worktree(project, branch)
        print(f"parked: {', '.join(removal.parked)}")
    except GoldentreeError as error:
        print(f"{error.kind}: {error.what}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
