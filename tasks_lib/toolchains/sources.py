"""
Read a project's files without running them.

Every function raises `ToolchainError` for a file that cannot be parsed; during a merge it may have conflict markers.
"""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from functools import cache
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import ToolchainError
from tasks_lib.files import read_foreign_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def read_text(path: Path) -> str:
    """Return the text of *path*; empty if it does not exist or is a folder."""
    try:
        return "" if path.is_dir() else read_foreign_file(path).decode(errors="replace").replace("\r\n", "\n")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise _unreadable(path, error) from None


def hash_file(path: Path, algorithm: str) -> str:
    """Return the checksum of *path* as hexadecimal digits, by an *algorithm* of hashlib."""
    try:
        return hashlib.new(algorithm, read_foreign_file(path), usedforsecurity=False).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Return the contents of the TOML file *path*; empty if it does not exist."""
    try:
        return tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _unreadable(path, error) from None


def read_json(path: Path) -> Any:
    """Return the contents of the JSON file *path*; None if it does not exist."""
    try:
        return json.loads(read_text(path) or "null")
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None


def read_python(path: Path) -> ast.Module:
    """Return the syntax tree of the Python file *path*; empty if it does not exist."""
    try:
        return _parsed(read_text(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two by deep nesting
        raise _unreadable(path, error) from None


@cache
def _parsed(text: str) -> ast.Module:
    """Parse each text once: fifty worktrees share most files. Callers must not change the tree."""
    return ast.parse(text)


def read_literals(body: Iterable[ast.stmt]) -> dict[str, Any]:
    """Return the names that *body* assigns literal values to, annotated or not."""
    found = {}
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        try:
            found[name] = ast.literal_eval(value)
        except ValueError:
            continue  # computed at run time; evaluating it would run the project's code
    return found


def read_crates(manifest: Path) -> set[str]:
    """Return the crates that the Cargo manifest *manifest* depends on."""
    cargo = read_toml(manifest)
    return {*cargo.get("dependencies", {}), *cargo.get("workspace", {}).get("dependencies", {})}


def _unreadable(path: Path, error: Exception) -> ToolchainError:
    return ToolchainError(
        f"`{path}` cannot be read", why=str(error), hint="fix the file; a merge may have left conflict markers in it"
    )
