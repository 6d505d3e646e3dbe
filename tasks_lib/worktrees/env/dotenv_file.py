"""
Read env files as applications do, and edit them without changing any other byte.

python-dotenv finds the bindings and checks the result. Its own `set_key` is not used: it drops inline comments, blank
lines, `export` and CRLF. Its parser hands back the text of every binding, and those texts joined are the whole file;
so an edit replaces the characters of a value inside its binding's text and joins again.
"""

from __future__ import annotations

import io
import re
import shlex
import stat
from typing import TYPE_CHECKING

from tasks_lib.errors import EnvFileError
from tasks_lib.files import atomic_write, read_foreign_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from dotenv.parser import Binding

MARK = "# goldentree: this worktree's own values"
"""The comment above the keys that the file did not have."""

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Read alike without quotes by python-dotenv, docker compose and `source` in a shell, even after `export`, where
# an unquoted `?`, `*`, `~` or `{` is expanded. Not the empty value: dotenv 1.2.3 reads `KEY= # c` as `# c`.
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")

# What no quotes make python-dotenv and a shell read alike; dotenv takes `\\` and `\'` for escapes in single quotes too.
# A lone surrogate (an undecodable byte of a path) cannot be written as UTF-8.
_UNWRITABLE = re.compile(r"[\0\r\n'\ud800-\udfff]|\\(?:\\|\Z)")

_SECRET = re.compile(
    r"""
      ://\S*:\S+@  # a URL with a password
    | \bpassword\s*=\s*['"]?[^\s&'"]
    | (?: PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|AUTH|PRIVATE|DSN ) [\w.-]* [^\S\n]*=[^\S\n]* ['"]? [^\s'"\#]
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""What may be a secret. A false alarm only makes a file private."""

# The start of a binding that dotenv has already parsed, up to the end of its value. The patterns are those of
# dotenv/parser.py; blanks after `=` belong to the value's left side only when a value follows.
_BINDING = re.compile(
    r"""
    \s* (?: export [^\S\r\n]+ )? (?: '[^']+' | [^=\#\s]+ )
    (?:
        [^\S\r\n]* (?P<equals> = ) (?: [^\S\r\n]+ (?=[^\s\#]) )?
        (?P<value> '(?: \\. | [^'\\] )*' | "(?: \\. | [^"\\] )*" | \S [^\r\n]*? (?= \s+\# | \s*\Z ) )?
    )?
    """,
    re.VERBOSE | re.DOTALL,
)


def parse(text: str) -> dict[str, str | None]:
    """
    Return what applications read from *text*: the last duplicate wins, `${X}` stays as it is written.

    A key without `=` has the value None. Lines that dotenv cannot parse are left out, as it leaves them out.
    """
    from dotenv.parser import parse_stream

    # newline=None: applications open the file as text, so a CRLF inside quotes reaches them as LF.
    bindings = parse_stream(io.StringIO(text, newline=None))
    return {binding.key: binding.value for binding in bindings if binding.key is not None}


def edit(text: str, values: Mapping[str, str], *, name: str = ".env") -> str:
    """
    Return *text* with *values* in it and every other character as it was.

    Each occurrence of a duplicated key is rewritten, so that readers who take the first agree with those who take
    the last. Missing keys go to the end, below `MARK`. A value that is right already keeps its spelling.

    Args:
        text: The file with its own line ends and byte order mark.
        values: What to set. A `${X}` is written as is, in single quotes: python-dotenv still expands it,
            a shell does not.
        name: What errors call the file.

    Raises:
        EnvFileError: *text* has a line that dotenv cannot parse, or a key or value cannot be written so that
            dotenv and a shell read it alike.
    """
    _refuse_unwritable(values)
    bindings = _bindings(text, name)
    pieces = ["\ufeff" if text.startswith("\ufeff") else ""]
    for binding in bindings:
        value = values.get(binding.key or "", binding.value)
        if value is None or value == binding.value:
            pieces.append(binding.original.string)
        else:
            pieces.append(_with_value(binding.original.string, value))
    missing = values.keys() - {binding.key for binding in bindings}
    if missing:
        newline = _newline(text)
        if bindings and not pieces[-1].endswith(("\n", "\r")):
            pieces.append(newline)
        if not any(binding.original.string.strip() == MARK for binding in bindings):
            pieces.append(MARK + newline)
        pieces += [f"{key}={_literal(value)}{newline}" for key, value in values.items() if key in missing]
    result = "".join(pieces)
    if parse(result) != {**parse(text), **values}:
        raise _unsafe_edit(name, values)
    return result


def substitute(text: str, changes: Mapping[str, Callable[[str], str]], *, name: str = ".env") -> str:
    """
    Return *text* with *changes* made to the values of its keys, inside their quotes; every other character stays.

    Args:
        changes: For each key, what makes the new value from the one that the file has. It must not add characters
            that need quotes.
        name: What errors call the file.

    Raises:
        EnvFileError: *text* has a line that dotenv cannot parse, or would be read differently otherwise.
    """
    if not changes:
        return text

    def changed(match: re.Match[str], change: Callable[[str], str]) -> str:
        old = match["value"] or ""
        quote = old[:1] if old[:1] in ("'", '"') else ""
        inner = old.removeprefix(quote).removesuffix(quote) if quote else old
        return match[0].removesuffix(old) + quote + change(inner) + quote

    pieces = ["\ufeff" if text.startswith("\ufeff") else ""]
    for binding in _bindings(text, name):
        change, piece = changes.get(binding.key or ""), binding.original.string
        if change:
            piece = _BINDING.sub(lambda match, change=change: changed(match, change), piece, count=1)  # type: ignore[misc]
        pieces.append(piece)
    result = "".join(pieces)
    wanted = {
        key: changes[key](value) if key in changes and value is not None else value
        for key, value in parse(text).items()
    }
    if parse(result) != wanted:
        raise _unsafe_edit(name, changes)
    return result


def load(path: Path) -> dict[str, str | None]:
    """
    Return what applications read from the file at *path*; nothing if it does not exist.

    Raises:
        EnvFileError: The file is not UTF-8 or may not be read.
    """
    return parse(read(path))


def append(text: str, source: str, keys: Collection[str], *, name: str = ".env") -> str:
    """
    Return *text* with lines of *source* at its end: those that set *keys*, as they are spelled there.

    Args:
        text: An env file that does not have *keys*.
        source: An env file that has them; of a duplicate, its last line counts.
        name: What errors call *source*.

    Raises:
        EnvFileError: *source* has a line that dotenv cannot parse, or the result would be read differently.
    """
    found = {binding.key: binding.original.string.strip() for binding in _bindings(source, name) if binding.key in keys}
    newline = _newline(text)
    start = text if not text or text.endswith(("\n", "\r")) else text + newline
    result = start + "".join(line + newline for line in found.values())
    values = parse(source)
    if parse(result) != {**parse(text), **{key: values[key] for key in keys}}:
        raise _unsafe_edit(name, keys)
    return result


def write(path: Path, text: str, *, like: Path | None = None) -> None:
    """
    Write *text* to *path* atomically and durably: readers see the old file or the new one.

    Args:
        path: An existing file is replaced, so a hard link to it keeps the old content.
        text: Written as it is, in UTF-8, with no translation of line ends.
        like: The file whose permissions to copy; else those of the file at *path*; else 0600. Of these, a file that
            contains a secret gets only its owner's.

    Raises:
        EnvFileError: *path* is a symbolic link, or the system refuses to write.
    """
    require_own(path)
    try:
        model = next((file for file in (like, path) if file and file.exists()), None)
        mode = stat.S_IMODE(model.stat().st_mode) if model else None
        if mode and _SECRET.search(text):
            mode &= stat.S_IRWXU
        atomic_write(path, text.encode(errors="surrogateescape"), mode=mode, durable=True)
    except OSError as error:
        raise EnvFileError(
            f"`{path}` cannot be written: {error.strerror}",
            hint=f"check the permissions and the free space of {shlex.quote(str(path.parent))}",
        ) from error


def is_exposed(path: Path) -> bool:
    """Whether the env file at *path* contains a secret that other accounts may read."""
    return bool(stat.S_IMODE(path.stat().st_mode) & ~stat.S_IRWXU and _SECRET.search(read(path, strict=False)))


def require_own(path: Path) -> None:
    """
    Refuse an env file that is a link to another one.

    Raises:
        EnvFileError: *path* is a symbolic link.
    """
    if path.is_symlink():
        link, origin = shlex.quote(str(path)), shlex.quote(str(path.resolve()))
        raise EnvFileError(
            f"`{path}` is a symbolic link",
            why="writing it would change the file it points to, in most cases the main worktree's",
            hint=f"rm {link} && cp {origin} {link}",
        )


def update_env_file(source: Path, target: Path, values: Mapping[str, str]) -> None:
    """
    Write *source* with *values* in it to *target*, and read *target* again to prove that they arrived.

    *source* may be *target* itself; where it is absent, *target* holds *values* alone.

    Raises:
        EnvFileError: As `rewritten` and `write`; or *target* reads differently afterwards.
    """
    text = edit(read(source), values, name=str(source))
    write(target, text, like=target if target.exists() else source)
    arrived = load(target)
    lost = [key for key, value in values.items() if arrived.get(key) != value]
    if lost:
        raise EnvFileError(
            f"`{target}` lost {', '.join(f'`{key}`' for key in lost)} just after it was written",
            why="another process writes this file too",
            hint="stop the other process and run the same command again",
        )


def _newline(text: str) -> str:
    first = re.search(r"\r\n|\n|\r", text)
    return first[0] if first else "\n"


def _unsafe_edit(name: str, keys: Iterable[str]) -> EnvFileError:
    return EnvFileError(
        f"`{name}` cannot be edited without changing other keys",
        why="python-dotenv reads the edited text differently than intended; nothing was written",
        hint=f"set these keys by hand: {', '.join(keys)}",
    )


def _bindings(text: str, name: str) -> list[Binding]:
    """Return what dotenv finds, in order; their texts joined are *text* without its byte order mark."""
    from dotenv.parser import parse_stream

    bindings = list(parse_stream(io.StringIO(text, newline="")))
    for _, _, original, error in bindings:
        if error:
            blank = original.string[: -len(original.string.lstrip())]
            line = original.line + len(re.findall(r"\r\n|\n|\r", blank))
            raise EnvFileError(
                f"`{name}:{line}` is not a line that python-dotenv can parse",
                why="a quote left open there would swallow the lines below it",
                hint=f"write line {line} as KEY=value, KEY='value' or # comment",
            )
    return bindings


def _with_value(binding: str, value: str) -> str:
    """Return the text of one binding with *value* in place of the value it had."""

    def edited(match: re.Match[str]) -> str:
        old = match["value"] or ""
        new = _literal(value, quote=old[:1])
        if match["equals"]:
            return match[0].removesuffix(old) + new
        # Without a blank, the comment of `KEY#comment` would become part of the value.
        blank = " " if match.string.startswith("#", match.end()) else ""
        return f"{match[0]}={new}{blank}"

    return _BINDING.sub(edited, binding, count=1)


def _literal(value: str, *, quote: str = "") -> str:
    """Spell *value* bare or in quotes; *quote*, the first character of the old spelling, decides where it can."""
    if quote == '"' and not re.search(r'["$`\\]', value):
        return f'"{value}"'
    if quote not in {"'", '"'} and _BARE.fullmatch(value):
        return value
    return f"'{value}'"


def _refuse_unwritable(values: Mapping[str, str]) -> None:
    for key, value in values.items():
        if not _KEY.fullmatch(key):
            raise EnvFileError(
                f"{key!r} cannot be a key of an env file",
                hint="use letters, digits and `_`, and no digit first",
            )
        if found := _UNWRITABLE.search(value):
            raise EnvFileError(
                f"the value for `{key}` contains {found[0]!r}",
                why="no quotes make python-dotenv and a shell read it alike",
                hint="in a URL, percent-encode it; elsewhere choose a value without it",
            )


def read(path: Path, *, strict: bool = True) -> str:
    """
    Return the file's text with its line ends and byte order mark; empty if the file does not exist.

    Args:
        strict: Refuse a file that is not UTF-8. Otherwise `write` writes the same bytes again.

    Raises:
        EnvFileError: The file is not UTF-8 or may not be read.
    """
    try:
        data = read_foreign_file(path, links_out=True)  # whose database a link leads to is judged elsewhere
        return data.decode(errors="strict" if strict else "surrogateescape")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise EnvFileError(
            f"`{path}:{line}` is not UTF-8",
            why="it cannot be edited without losing bytes, and applications cannot read it either",
            hint=f"save {shlex.quote(str(path))} as UTF-8 in your editor",
        ) from error
    except OSError as error:
        raise EnvFileError(
            f"`{path}` cannot be read: {error.strerror}",
            hint=f"see what it is and whose: ls -ld {shlex.quote(str(path))}",
        ) from error
