"""
Find words in strings, docstrings, comments and documents that the style sheet in CONTRIBUTING.md replaces.

`python dev/plain_english.py [FILE ...]` prints `file:line: word -> replacement` and exits with 1 when it finds any.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = {
    r"(?<!\")(nobody|somebody)('s)?": "name the actor: no session, another process, the user",
    r"who(so)?ever": "the process that, callers that, anyone who",
    r"anew": "again, or leave it out",
    r"meanwhile": "since then, concurrently, in the meantime; or leave it out",
    r"(is|are|was|were) told": "prints, is called with, receives",
    r"(bear(?= (a|an|the|its|their)\b)|bears|bore|borne)": "has, is named",
    r"mend(s|ed|ing)?": "fix",
    r"(is|are) no (?!longer\b)[a-z]+": "is not a; does not exist; no X was found",
    r"that was(?= (there|golden|before)\b|[.,;:)`]|$)": "the previous",
    r"(stands|what stands|as it stands)": "is, as is",
    r"(we|you|one|that) stands? in": "the current worktree",
    r"at work": "running, in use, busy",
    r"by now": "leave it out, or since then",
    r"cut short": "interrupted",
    r"(sweep|sweeps|swept|sweeping)": "delete, clean up",
    r"(take|takes|took|taken|taking) (it |them )?away": "remove, delete",
    r"without a word": "silently",
    r"(is|are) (its|their|our|somebody's|one's) own business": "is private to it, is not managed by this tool",
    r"have (it|them) back": "restore",
    r"(well|ill) (ends|ended)": "succeeds",
    r"ends well": "exits with 0, succeeds",
    r"the like": "similar",
    r"in vain": "without success",
    r"(?<!<)circle": "cycle",
}
"""Regular expressions of what not to write, and what to write instead."""

_FOUND = [(re.compile(rf"(?<![\w-]){words}(?![\w-])", re.IGNORECASE), instead) for words, instead in WORDS.items()]
_TEXT = {tokenize.STRING, tokenize.COMMENT} | ({tokenize.FSTRING_MIDDLE} if sys.version_info >= (3, 12) else set())


def find(path: Path) -> Iterator[tuple[int, str, str]]:
    """Return the line, the word and its replacement for each find in *path*."""
    text = path.read_text("utf-8")
    pieces = _pieces(text) if path.suffix == ".py" else enumerate(text.splitlines(), 1)
    for number, piece in pieces:
        for offset, line in enumerate(piece.splitlines()):
            for pattern, instead in _FOUND:
                for found in pattern.finditer(line):
                    yield number + offset, found[0], instead


def _pieces(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _TEXT:
            yield token.start[0], token.string


def main(arguments: list[str]) -> int:
    """Check the files named, by default every Python and Markdown file that git tracks but this one."""
    names = arguments or subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.md", ".env.example"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    count = 0
    for name in names:
        path = Path(name)
        # The style sheet quotes what it replaces.
        if not path.is_file() or path.resolve() == Path(__file__).resolve() or path.name == "CONTRIBUTING.md":
            continue
        for line, word, instead in find(path):
            print(f"{path}:{line}: {word} -> {instead}")
            count += 1
    if count:
        print(f"{count} to rewrite: the style sheet is in CONTRIBUTING.md", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
