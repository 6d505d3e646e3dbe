"""
Write the generated tables of docs/reference and the whole of .env.example from the code.

`python dev/reference.py` writes them; with `--check` it only names the files that are out of date, and exits with 1.
A page holds its tables between `<!-- begin NAME -->` and `<!-- end NAME -->`; the text around them is written by hand.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `footprint` is beside this script; `tasks_lib` may be installed or not

from dev.footprint import CREATED, DELETED  # noqa: E402
from tasks_lib import errors, ns  # noqa: E402
from tasks_lib.collections._task import OptionalPositional  # noqa: E402
from tasks_lib.errors import GoldentreeError  # noqa: E402
from tasks_lib.settings import SETTINGS  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PAGES = ("tasks", "settings", "json", "errors", "files", "deletions")

EXAMPLE_HEAD = """\
# Every variable that goldentree reads, with its default. Copy what differs into the main worktree's
# `.env`; the process environment wins over it, and an empty value counts as not set.
# Team-wide values belong in `invoke.yaml`; `inv config.show` prints where each one comes from.
"""

EXAMPLE_TAIL = """
# The embedded server's directory. Default: the user's data directory, /var/lib/goldentree for root
#GOLDENTREE_HOME=~/.local/share/goldentree
"""


def tasks() -> str:
    """Return a table of tasks for each collection, with flags and the first line of the help."""
    nouns: dict[str, list[str]] = {}
    for name in ns.task_names:
        nouns.setdefault(name.rpartition(".")[0], []).append(name)
    sections = []
    for noun, names in nouns.items():
        rows = [(f"`{_signature(name)}`", _summary(name)) for name in names]
        title = f"### {noun}" if noun else "### Without a collection"
        sections.append(f"{title}\n\n{_table(('task', 'does'), rows)}")
    return "\n\n".join(sections)


def json_documents() -> str:
    """Return the table of what each task answers with `--json`; tasks with the same answer share a row."""
    answers: dict[str, list[str]] = {}
    for name in ns.task_names:
        answers.setdefault(ns[name].returns, []).append(f"`{name}`")
    return _table(("task", "`data`"), [(", ".join(names), shape) for shape, names in answers.items()])


def settings() -> str:
    """Return the table of settings."""
    rows = [
        (
            f"`{setting.key}`" if setting.key else "",
            f"`{setting.env}`" if setting.env else "",
            f"`{setting.default_text}`" if setting.default is not None else setting.default_text,
            f"{setting.why}. {setting.more}".strip().removesuffix("."),
        )
        for setting in SETTINGS
    ]
    home = "the user's data directory, `/var/lib/goldentree` for root"
    rows.append(("", "`GOLDENTREE_HOME`", home, "the embedded server's directory"))
    return _table(("setting", "environment", "default", "what it is"), [_escaped(row) for row in rows])


def error_codes() -> str:
    """Return the table of error codes, as the classes in `tasks_lib.errors` declare them."""
    found = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, GoldentreeError)]
    rows = [(f"`{error.kind}`", str(error.status), _first_line(error.__doc__ or "").rstrip(".")) for error in found]
    return _table(("`error.code`", "exit status", "means"), rows)


def files() -> str:
    """Return the table of everything that is created."""
    return _table(("where", "what"), [(created.where, created.what) for created in CREATED])


def deletions() -> str:
    """Return the table of everything that can be deleted."""
    return _table(("what", "when"), [(deleted.what, deleted.when) for deleted in DELETED])


def env_example() -> str:
    """Return the text of .env.example."""
    blocks = [EXAMPLE_HEAD]
    for setting in SETTINGS:
        if setting.env:
            sentences = [
                f"{setting.why[0].upper()}{setting.why[1:]}.",
                setting.more,
                f"Default: {setting.default_text}",
            ]
            # Keep code in backticks on one line.
            text = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\0"), " ".join(filter(None, sentences)))
            comment = textwrap.fill(text, 110, initial_indent="# ", subsequent_indent="# ").replace("\0", " ")
            blocks.append(f"\n{comment}\n#{setting.env}={setting.example}\n")
    return "".join([*blocks, EXAMPLE_TAIL])


TABLES: dict[str, Callable[[], str]] = {
    "tasks": tasks,
    "settings": settings,
    "json": json_documents,
    "errors": error_codes,
    "files": files,
    "deletions": deletions,
}


def generated() -> dict[Path, str]:
    """Return the text that each generated file should have."""
    texts = {ROOT / ".env.example": env_example()}
    for name in PAGES:
        path = ROOT / "docs" / "reference" / f"{name}.md"
        texts[path] = _with_table(path, name, TABLES[name]())
    return texts


def _with_table(path: Path, name: str, table: str) -> str:
    begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
    before, found, rest = path.read_text("utf-8").partition(begin)
    _, also_found, after = rest.partition(end)
    if not (found and also_found):
        sys.exit(f"{path} lacks the markers {begin.strip()} and {end.strip()}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def _signature(name: str) -> str:
    task: Any = ns[name]
    words = [name]
    for position, argument in enumerate(task.get_arguments()):
        flag = argument.names[0]
        if flag == "json":
            continue
        if argument.positional:
            words.append(flag.upper())
        elif position == 0 and isinstance(task, OptionalPositional):
            words.append(f"[{flag.upper()}]")
        else:
            value = "" if argument.kind is bool else f" {flag.upper()}"
            words.append(f"[--{'[no-]' if argument.default is True else ''}{flag}{value}]")
    return " ".join(words)


def _summary(name: str) -> str:
    task: Any = ns[name]
    notes = []
    if others := [alias for alias in ns.task_names[name] if "." in alias]:
        notes.append(f"alias {', '.join(f'`{alias}`' for alias in others)}")
    if task.is_default:
        notes.append(f"default task of `{name.rpartition('.')[0]}`")
    return _first_line(task.__doc__) + (f" ({'; '.join(notes)})" if notes else "")


def _first_line(text: str) -> str:
    return next(line.strip() for line in text.splitlines() if line.strip())


def _escaped(row: Iterable[str]) -> tuple[str, ...]:
    return tuple(re.sub(r"(?<!`)(<[a-z]+>[^`]*)", r"`\1`", cell) for cell in row)


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` compare them."""
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: python dev/reference.py", file=sys.stderr)
        return 1 if stale else 0
    for path, text in generated().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
