"""
Find the command that starts a repository's application.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_JUSTFILES = ("justfile", "Justfile", ".justfile")

_DEV_RECIPE = re.compile(r"^@?dev(?:[ \t][^:\n]*)?:(?!=)", re.MULTILINE)
"""The recipe `dev`, with or without parameters; `dev := …` would be a variable."""

_MANAGERS = {"bun.lock": "bun", "bun.lockb": "bun", "pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn"}


def run_command(main: Path) -> str | None:
    """Return the command that starts the application in *main* for development; None if no file names it."""
    if any(_DEV_RECIPE.search(_text(main / name)) for name in _JUSTFILES):
        return "just dev"
    if _has_dev_script(_text(main / "package.json")):
        manager = next((manager for lock, manager in _MANAGERS.items() if (main / lock).exists()), "npm")
        return f"{manager} run dev"
    if (main / "Procfile.dev").is_file():
        return "foreman start --procfile Procfile.dev"
    return None


def _has_dev_script(package: str) -> bool:
    try:
        return "dev" in json.loads(package)["scripts"]
    except (ValueError, KeyError, TypeError):
        return False


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
