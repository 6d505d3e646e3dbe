"""Env files: other bytes stay, every reader agrees on ours, and files are replaced whole or not at all."""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from dotenv import dotenv_values
from dotenv.parser import parse_stream
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_lib.errors import EnvFileError
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.dotenv_file import MARK

if TYPE_CHECKING:
    from pathlib import Path

URL = "postgresql://me:p%40ss@localhost:5432/app_feat_x"
BOM = "\ufeff"


def sourced(file: Path, *keys: str) -> list[str]:
    """Return what a POSIX shell makes of the file."""
    names = " ".join(f'"${key}"' for key in keys)
    command = ["sh", "-c", f". \"$1\"; printf '%s\\0' {names}", "sh", str(file)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]


# --- text: examples ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("KEY=old\n", "KEY=new\n"),
        ("KEY=old", "KEY=new"),
        ("KEY=\n", "KEY=new\n"),
        ("KEY=   \n", "KEY=new   \n"),
        ("KEY\n", "KEY=new\n"),
        ("KEY", "KEY=new"),
        ("KEY # why\n", "KEY=new # why\n"),
        ("KEY#why\n", "KEY=new #why\n"),
        ("KEY= # why\n", "KEY=new # why\n"),
        ("KEY=#c\n", "KEY=new\n"),
        ("KEY=a#b # why\n", "KEY=new # why\n"),
        ("KEY=old\t # it's why\n", "KEY=new\t # it's why\n"),
        ("KEY=a b  \n", "KEY=new  \n"),
        ("KEY = old\n", "KEY = new\n"),
        ("KEY\t=\told\n", "KEY\t=\tnew\n"),
        ("  export\tKEY=old\n", "  export\tKEY=new\n"),
        ("export KEY\n", "export KEY=new\n"),
        ("'KEY'=old\n", "'KEY'=new\n"),
        ("KEY='old'\n", "KEY='new'\n"),
        ("KEY='it\\'s' # why\n", "KEY='new' # why\n"),
        ('KEY="old"#why\n', 'KEY="new"#why\n'),
        ('KEY="a\\nb \\" # c"\n', 'KEY="new"\n'),
        ('KEY="a\nKEY=b\n"\nB=1\n', 'KEY="new"\nB=1\n'),
        ('B="a\nKEY=b\n"\nKEY=old\n', 'B="a\nKEY=b\n"\nKEY=new\n'),
        ("KEY=a\n\nB=1\nKEY='b'\n", "KEY=new\n\nB=1\nKEY='new'\n"),
        ("KEY=new\nKEY='old'\nKEY=\"new\"\n", "KEY=new\nKEY='new'\nKEY=\"new\"\n"),
        ("B=${KEY}_test\nKEY=old\n", "B=${KEY}_test\nKEY=new\n"),
        ("\r\n# c\r\n\r\nKEY=old\r\nB=1\r\n", "\r\n# c\r\n\r\nKEY=new\r\nB=1\r\n"),
        ("A=1\rKEY=old\rB=2", "A=1\rKEY=new\rB=2"),
        (f"{BOM}KEY=old\n", f"{BOM}KEY=new\n"),
        ("", f"{MARK}\nKEY=new\n"),
        (BOM, f"{BOM}{MARK}\nKEY=new\n"),
        ("#KEY=old\n", f"#KEY=old\n{MARK}\nKEY=new\n"),
        ("A=1", f"A=1\n{MARK}\nKEY=new\n"),
        ("A=1\r\nB=2", f"A=1\r\nB=2\r\n{MARK}\r\nKEY=new\r\n"),
        ("A=1\rB=2", f"A=1\rB=2\r{MARK}\rKEY=new\r"),
        ("A=1\n  ", f"A=1\n  \n{MARK}\nKEY=new\n"),
        (f"{MARK}\nA=1\n", f"{MARK}\nA=1\nKEY=new\n"),
        (f'A="\n{MARK}\n"\n', f'A="\n{MARK}\n"\n{MARK}\nKEY=new\n'),
    ],
)
def test_only_the_value_changes(before: str, after: str):
    """Indentation, `export`, blanks, quotes, comments, line ends and the byte order mark all stay."""
    assert dotenv_file.edit(before, {"KEY": "new"}) == after


@pytest.mark.parametrize(
    ("old", "value", "spelled"),
    [
        ("old", URL, URL),
        ("old", "", "''"),
        ("old", "a b", "'a b'"),
        ("old", URL + "?sslmode=require", f"'{URL}?sslmode=require'"),
        ("old", "$HOME", "'$HOME'"),
        ("old", "~/x", "'~/x'"),
        ("old", "#1", "'#1'"),
        ("old", "é", "'é'"),
        ("old", r"C:\tmp", r"'C:\tmp'"),
        ("'old'", "5432", "'5432'"),
        ("''", "x", "'x'"),
        ('"old"', "a b", '"a b"'),
        ('"old"', "", '""'),
        ('"old"', "a$b", "'a$b'"),
        ('"old"', 'say "hi"', "'say \"hi\"'"),
    ],
)
def test_quotes_are_kept_where_they_can_be_and_added_where_they_must(
    old: str, value: str, spelled: str, tmp_path: Path
):
    """A value is bare only when dotenv and a shell read it alike so; quotes already there stay if they can hold it."""
    file = tmp_path / ".env"
    file.write_text(dotenv_file.edit(f"KEY={old}", {"KEY": value}))

    assert file.read_text() == f"KEY={spelled}"
    assert dotenv_values(file) == {"KEY": value}
    assert sourced(file, "KEY") == [value]


def test_a_right_value_keeps_its_spelling():
    """Nothing is normalised for its own sake."""
    text = "export KEY = \"5432\"  # port\r\n'KEY'='5432'"

    assert dotenv_file.edit(text, {"KEY": "5432"}) == text


def test_missing_keys_stand_below_one_comment_in_the_order_given():
    """A second run changes nothing, and a key that is new later joins the others under the same comment."""
    first = dotenv_file.edit("A=1\n", {"PORT": "5001", "DATABASE_URL": URL})

    assert first == f"A=1\n{MARK}\nPORT=5001\nDATABASE_URL={URL}\n"
    assert dotenv_file.edit(first, {"PORT": "5001", "DATABASE_URL": URL}) == first
    assert dotenv_file.edit(first, {"SLUG": "x"}) == f"{first}SLUG=x\n"


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "it's", "a\\", "a\\\\b", "\udcff"])
def test_a_value_that_readers_would_not_agree_on_is_refused(value: str):
    """No quotes carry it through both dotenv and a shell; the error names the key and not the value."""
    with pytest.raises(EnvFileError, match="`KEY`") as caught:
        dotenv_file.edit("", {"KEY": f"secret{value}"})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "1A", "A B", "A-B", "A\n", "A=B", "é"])
def test_a_key_that_is_no_shell_name_is_refused(key: str):
    """It would be another key, two keys, or no key at all to some reader."""
    with pytest.raises(EnvFileError, match="cannot be a key"):
        dotenv_file.edit("", {key: "x"})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\nB='secret\nC=3\n", 2),
        ('A=1\r\n\r\n  B="secret\r\nC=3', 3),
        ("A='x\ny'\nB='secret'1\n", 3),
        ("A=1\rsecret password\r", 2),
        (f"{BOM}=secret", 1),
    ],
)
def test_a_line_that_dotenv_cannot_parse_is_refused(text: str, line: int):
    """The error names file and line, and shows nothing of the line: it may hold a password."""
    with pytest.raises(EnvFileError, match=f"`main/.env:{line}` is not a line") as caught:
        dotenv_file.edit(text, {"KEY": "x"}, name="main/.env")

    assert "secret" not in str(caught.value)
    assert "hint: " in str(caught.value)


def test_parse_reads_what_applications_read():
    """The last duplicate wins, `${X}` stays, a key without `=` is None, a broken line is left out."""
    text = f"{BOM}A=1\r\nA=${{B}}\r\nB\r\nC='x\r\ny'\r\nbroken line\r\n"

    assert dotenv_file.parse(text) == {"A": "${B}", "B": None, "C": "x\ny"}


# --- text: properties -------------------------------------------------------------------------------------------------

OURS = ("PORT", "DATABASE_URL", "WORKTREE_SLUG")
BLANK = st.sampled_from(["", " ", "\t", "  "])


@dataclass(frozen=True)
class Line:
    """One line of a file, in parts: a binding's value is *literal* (None: it has no `=`); other lines are all head."""

    head: str
    literal: str | None = ""
    tail: str = ""
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.head}{self.literal or ''}{self.tail}"

    def pattern(self, value: str) -> str:
        """Return a pattern of what the line may look like with *value* in it."""
        if self.literal is None:
            return f"{re.escape(self.head)}={spelled(value)} ?{re.escape(self.tail)}"
        return re.escape(self.head) + spelled(value) + re.escape(self.tail)


def spelled(value: str) -> str:
    """Return a pattern of *value* in every spelling that an edit may choose."""
    literals = (value, f"'{value}'", f'"{value}"')
    return f"(?:{'|'.join(map(re.escape, literals))})"


others = st.sampled_from(["", "  ", "# it's a comment", "#PORT=1", '\t# say "hi" \'x', "export # nothing"]).map(Line)
quoted = st.sampled_from(
    [
        "''",
        '""',
        "'a # b'",
        "'it\\'s'",
        '"a\\nb \\"q\\" \\\\"',
        "'a\nPORT=1\n'",
        "\"\r\n# c\r\nDATABASE_URL='x'\"",
        '"${PORT}"',
    ]
)
bare = st.sampled_from(["5000", "a b", "a#b", "x'y", 'x"', "${PORT}_test", "a=b", "é", r"\n", URL])
comment = st.sampled_from([" # c", "\t# it's", '  # "'])


@st.composite
def bindings(draw: st.DrawFn) -> Line:
    key = draw(st.sampled_from([*OURS, "APP_HOST", "port", "PORT_2"]))
    name = draw(st.sampled_from([key, key, f"'{key}'"]))
    head = draw(BLANK) + draw(st.sampled_from(["", "export ", "export \t"])) + name
    tail = draw(comment | BLANK)
    match draw(st.sampled_from(["none", "empty", "hash", "bare", "quoted"])):
        case "none":
            return Line(head, None, draw(st.just("#c") | st.just(tail)), key)
        case "empty":
            return Line(f"{head}{draw(BLANK)}=", "", tail, key)
        case "hash":
            return Line(f"{head}{draw(BLANK)}=", "#c", tail, key)
        case "bare":
            return Line(f"{head}{draw(BLANK)}={draw(BLANK)}", draw(bare), tail, key)
        case _:
            return Line(f"{head}{draw(BLANK)}={draw(BLANK)}", draw(quoted), draw(st.just("#c") | st.just(tail)), key)


printable = [*(chr(code) for code in range(32, 127) if chr(code) not in "'\\"), *"\té日\u2028\x85\xa0"]
writable = st.text(printable) | st.sampled_from(
    [URL, f"{URL}?a=b&c=d", "$HOME", "${PORT}", "`x`", "a;b", "*", "#x", " # x ", ' "', r"\n", r"a\ b"]
)
settings_of_ours = st.dictionaries(st.sampled_from(OURS), writable)


@settings(max_examples=300, deadline=None)
@given(
    lines=st.lists(others | bindings()),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    start=st.sampled_from(["", BOM]),
    last=st.booleans(),
    values=settings_of_ours,
)
def test_every_other_byte_stays(lines: list[Line], newline: str, start: str, last: bool, values: dict[str, str]):
    """Whatever the file is made of, only our values differ, readers see old plus ours, and a re-run is a no-op."""
    text = start + newline.join(map(str, lines)) + (newline if last and lines else "")
    old = dotenv_file.parse(text)

    new = dotenv_file.edit(text, values)

    # A key given twice may be right in one place already; there, and in lines that are not ours, nothing changes.
    expected = start + re.escape(newline).join(
        f"(?:{line.pattern(values[line.key])}|{re.escape(str(line))})" if line.key in values else re.escape(str(line))
        for line in lines
    )
    end = r"(?:\r\n|\n|\r)"
    missing = [f"{key}={spelled(value)}{end}" for key, value in values.items() if key not in old]
    added = f"{re.escape(MARK)}{end}{''.join(missing)}" if missing else ""
    assert re.fullmatch(f"{expected}{end}?{added}", new)
    assert dotenv_values(stream=io.StringIO(new, newline=None), interpolate=False) == old | values
    for binding in parse_stream(io.StringIO(new, newline="")):
        assert binding.key not in values or binding.value == values[binding.key]
    assert dotenv_file.edit(new, values) == new


@settings(max_examples=500, deadline=None)
@given(
    text=st.text("AB='\"\\# \n\r\t${}\x0b\x85\ufeff"),
    values=st.dictionaries(st.sampled_from("AB"), writable),
)
def test_any_text_is_edited_faithfully_or_refused_by_line(text: str, values: dict[str, str]):
    """No text that dotenv can parse is refused, and the texts of bindings that are not ours come back in order."""
    originals = list(parse_stream(io.StringIO(text, newline="")))
    if any(binding.error for binding in originals):
        with pytest.raises(EnvFileError, match=r"`\.env:\d+` is not a line"):
            dotenv_file.edit(text, values)
        return

    new = dotenv_file.edit(text, values)

    edited = list(parse_stream(io.StringIO(new, newline="")))
    for before, after in zip(originals, edited, strict=False):
        assert before.key == after.key
        if before.key not in values and before is not originals[-1]:
            assert after._replace(original=before.original) == before
            assert before.original.string == after.original.string
    assert dotenv_file.parse(new) == dotenv_file.parse(text) | values
    assert dotenv_file.edit(new, values) == new


@settings(max_examples=50, deadline=None)
@given(values=st.fixed_dictionaries(dict.fromkeys(("BARE", "SINGLE", "DOUBLE", "EXPORTED", "MISSING"), writable)))
def test_a_shell_reads_what_dotenv_reads(values: dict[str, str], tmp_path_factory: pytest.TempPathFactory):
    """`. .env` gives the same values, whichever quotes were there before."""
    file = tmp_path_factory.mktemp("shell") / ".env"
    text = dotenv_file.edit("BARE=x # c\nSINGLE='x'\nDOUBLE=\"x\" # c\nexport EXPORTED=x\n", values)
    dotenv_file.write(file, text)

    assert sourced(file, *values) == list(values.values())


# --- files ------------------------------------------------------------------------------------------------------------


def test_point_copies_the_source_and_sets_the_values(tmp_path: Path):
    """The main worktree's file is read only; the target has its bytes, CRLF and BOM too, and its permissions."""
    source, target = tmp_path / ".env", tmp_path / "linked" / ".env"
    target.parent.mkdir()
    source.write_bytes(b"\xef\xbb\xbfAPP_HOST=x\r\nPORT=5000 # main\r\nLAST='\xc3\xa9'")
    source.chmod(0o640)
    before = source.read_bytes()

    dotenv_file.update_env_file(source, target, {"PORT": "5001"})

    assert target.read_bytes() == b"\xef\xbb\xbfAPP_HOST=x\r\nPORT=5001 # main\r\nLAST='\xc3\xa9'"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert source.read_bytes() == before
    assert dotenv_file.load(target) == {"APP_HOST": "x", "PORT": "5001", "LAST": "é"}


def test_point_edits_a_file_in_place_and_keeps_its_permissions(tmp_path: Path):
    """Source and target may be one file; running again leaves the same bytes."""
    file = tmp_path / ".env"
    file.write_text("PORT=5000\n")
    file.chmod(0o604)

    for _ in range(2):
        dotenv_file.update_env_file(file, file, {"PORT": "5001", "SLUG": "x"})

        assert file.read_text() == f"PORT=5001\n{MARK}\nSLUG=x\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o604


def test_point_does_not_widen_the_permissions_of_an_existing_target(tmp_path: Path):
    """A file that its owner closed stays closed, whatever the source's mode is."""
    source, target = tmp_path / ".env", tmp_path / ".env.local"
    source.touch(0o644)
    target.touch(0o600)

    dotenv_file.update_env_file(source, target, {"PORT": "5001"})

    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_point_without_a_source_makes_a_private_file(tmp_path: Path):
    """No file to start from gives one with our values alone, for its owner only."""
    target = tmp_path / ".env"

    dotenv_file.update_env_file(tmp_path / "absent", target, {"PORT": "5001"})

    assert target.read_text() == f"{MARK}\nPORT=5001\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_missing_file_reads_as_empty(tmp_path: Path):
    """Reading a missing env file gives an empty text, not an error."""
    assert dotenv_file.load(tmp_path / ".env") == {}


def test_a_symbolic_link_is_refused_and_its_target_untouched(tmp_path: Path):
    """A worktree's `.env` that links to the main worktree's must not rewrite it; the hint makes it a copy."""
    main, linked = tmp_path / ".env", tmp_path / "feat x" / ".env"
    linked.parent.mkdir()
    main.write_text("PORT=5000\n")
    linked.symlink_to(main)

    with pytest.raises(EnvFileError, match="symbolic link") as caught:
        dotenv_file.update_env_file(main, linked, {"PORT": "5001"})

    assert main.read_text() == "PORT=5000\n"
    assert linked.is_symlink()
    assert list(linked.parent.iterdir()) == [linked]

    subprocess.run(["sh", "-c", caught.value.hint], check=True)
    dotenv_file.update_env_file(linked, linked, {"PORT": "5001"})

    assert main.read_text() == "PORT=5000\n"
    assert linked.read_text() == "PORT=5001\n"


def test_a_file_is_replaced_and_never_written_into(tmp_path: Path):
    """Open handles and hard links keep the complete old content."""
    file, other_name = tmp_path / ".env", tmp_path / "hard-link"
    file.write_text("PORT=5000\n")
    os.link(file, other_name)

    with file.open() as reader:
        dotenv_file.write(file, "PORT=5001\n")

        assert reader.read() == "PORT=5000\n"
    assert other_name.read_text() == "PORT=5000\n"
    assert file.read_text() == "PORT=5001\n"


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path):
    """When the last step cannot be made, what was there stays and no temporary file remains."""
    folder = tmp_path / ".env"
    (folder / "inside").mkdir(parents=True)

    with pytest.raises(EnvFileError, match=r"cannot be written: Is a directory"):
        dotenv_file.write(folder, "PORT=5001\n")

    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / "inside").is_dir()


def test_a_missing_folder_is_an_error_with_its_name(tmp_path: Path):
    """The folder is the worktree, which must exist first."""
    with pytest.raises(EnvFileError, match="No such file or directory") as caught:
        dotenv_file.write(tmp_path / "absent" / ".env", "")

    assert str(tmp_path / "absent") in caught.value.hint


@pytest.mark.parametrize("data", [b"A=1\r\nB=\xe9\n", "A=1\r\nB=é\n".encode("utf-16")])
def test_a_file_that_is_not_utf8_is_refused(data: bytes, tmp_path: Path):
    """It would lose bytes; the error names file and line, and the file stays as it was."""
    file = tmp_path / ".env"
    file.write_bytes(data)

    with pytest.raises(EnvFileError, match=r"\.env:\d+` is not UTF-8"):
        dotenv_file.update_env_file(file, file, {"PORT": "5001"})

    assert file.read_bytes() == data


def test_an_unparsable_source_is_named_and_the_target_not_made(tmp_path: Path):
    """A refusal comes before the first change."""
    source, target = tmp_path / ".env", tmp_path / ".env.local"
    source.write_text("A=1\nB='oops\n")

    with pytest.raises(EnvFileError, match=re.escape(f"`{source}:2`")):
        dotenv_file.update_env_file(source, target, {"PORT": "5001"})

    assert not target.exists()


def test_an_edit_that_changes_another_key_is_refused(tmp_path, monkeypatch):
    """The edited text is parsed again before it is written, in case an edit goes wrong."""
    file = tmp_path / ".env"
    file.write_text("PORT=1\nSECRET=keep\n")
    monkeypatch.setattr(dotenv_file, "_with_value", lambda *_: "PORT='2\n")
    with pytest.raises(EnvFileError, match="cannot be edited without changing other keys"):
        dotenv_file.update_env_file(file, file, {"PORT": "2"})
    assert file.read_text() == "PORT=1\nSECRET=keep\n"
