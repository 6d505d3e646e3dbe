#!/bin/sh
# Claude Code creates and removes its worktrees with this script. Its request is JSON on stdin; the last line on
# stdout is the path of the new worktree, so everything else goes to stderr.
set -eu

asked() {
  # -I: not the modules of the current directory.
  python3 -I -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

case $1 in
create)
  branch=$(asked name)
  # `.git` is a file in a linked worktree: never return the main worktree.
  if path=$(goldentree worktree.path "$branch" 2>/dev/null) && [ -f "$path/.git" ]; then
    echo "$path"
  else
    goldentree worktree.create "$branch" >&2
    goldentree worktree.path "$branch"
  fi
  ;;
remove)
  path=$(asked worktree_path)
  main=$(git -C "$path" worktree list --porcelain | sed -n '1s/^worktree //p')
  cd "$main"
  # Without --force, a worktree with unmerged or uncommitted work stays, with its database.
  goldentree worktree.remove "$path" >&2
  ;;
esac
