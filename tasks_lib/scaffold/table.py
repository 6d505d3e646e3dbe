"""
The table of templates: the file that each becomes, and the documentation of the tools that read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HOOKS = "<hooks>"
"""A placeholder for the directory in which git looks for hooks."""


@dataclass(frozen=True)
class Template:
    """
    A file that `init` writes.

    Attributes:
        path: Its path, relative to the main worktree or to `HOOKS`.
        source: Its template in `templates/`.
        flag: The flag of `init` that requests it; None if it is always written.
        instead: Files that replace it if they exist, and the template for each: the tool would ignore either *path* or
            the other file.
    """

    path: str
    source: str
    flag: str | None = None
    instead: Mapping[str, str] = field(default_factory=dict)


TEMPLATES = (
    # Invoke looks for the module or package `tasks` (invoke/loader.py), and reads the first of these configuration
    # files (invoke/config.py, `_file_suffixes`).
    Template("tasks.py", "tasks.py.txt", instead={"tasks/__init__.py": "tasks.py.txt"}),
    Template(
        "invoke.yaml", "invoke.yaml", instead=dict.fromkeys(("invoke.yml", "invoke.json", "invoke.py"), "invoke.yaml")
    ),
    Template(".env.example", "env.example"),
    # conductor.json is read by every release of Conductor; it ignores conductor.json in a repository that
    # has the newer file (https://www.conductor.build/docs/reference/conductor-json).
    # The scripts run in the workspace (https://www.conductor.build/docs/reference/scripts), under zsh, which
    # fails with 127 where there is no `inv`.
    Template("conductor.json", "conductor.json", instead={".conductor/settings.toml": "conductor.toml"}),
    # When it runs, with which arguments, and that its status becomes git's: githooks(5), post-checkout. That
    # `git worktree add` runs it in the new worktree: git's builtin/worktree.c, add_worktree.
    Template(f"{HOOKS}/post-checkout", "post-checkout", "git"),
    # https://code.claude.com/docs/en/hooks#worktreecreate: the hook replaces `git worktree`, any status except 0
    # stops the creation, the last line on stdout is the path. Its input has `name` and no path, whatever the
    # page said at times (anthropics/claude-code#77566); that of WorktreeRemove has `worktree_path`.
    Template(".claude/settings.json", "claude-settings.json", "claude"),
    Template(".claude/hooks/worktree.sh", "claude-worktree.sh", "claude"),
    # https://cursor.com/docs/configuration/worktrees: looked for in the new worktree, then in the main one;
    # Cursor has no hook for removals, so `worktree.gc` has to find removed worktrees.
    Template(".cursor/worktrees.json", "cursor.json", "cursor"),
    # https://worktrunk.dev/hook/, as of 0.74: `pre-start` is the blocking hook of a creation, `post-create` was its
    # name until 0.32; `pre-remove` runs in the worktree that is removed. wt asks once before it runs them.
    Template(".config/wt.toml", "wt.toml", "worktrunk"),
    # Preferred in this order: https://docs.docker.com/compose/intro/compose-application-model/#the-compose-file
    Template(
        "compose.yaml",
        "compose.yaml",
        "compose",
        instead=dict.fromkeys(("compose.yml", "docker-compose.yaml", "docker-compose.yml"), "compose.yaml"),
    ),
    # `_.file` takes a list, later files win: https://mise.jdx.dev/environments/#env-file
    Template(
        ".mise.toml",
        "mise.toml",
        "mise",
        instead=dict.fromkeys(("mise.toml", "mise/config.toml", ".mise/config.toml", ".config/mise.toml"), "mise.toml"),
    ),
    Template("env-templates/env.local.example", "env.local.example", "env-templates"),
    Template("env-templates/env.development.local.example", "env.development.local.example", "env-templates"),
    Template("seed.env.example", "seed.env.example", "seed"),
)
