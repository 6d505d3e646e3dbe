"""Settings: layers, defaults, and everything that is refused."""

from __future__ import annotations

import pytest

from tasks_lib.errors import SettingsError
from tasks_lib.settings import SETTINGS, Origin, load
from tasks_lib.settings.values import filled


@pytest.fixture
def main(tmp_path):
    path = tmp_path / "My App"
    path.mkdir()
    return path


def team(**values):
    return {key.replace("__", "."): Origin(value, "invoke.yaml") for key, value in values.items()}


def test_defaults(main):
    """Everything follows from the directory's name."""
    found = load(main, {}, {})
    assert (found.project, found.template, found.prefix) == ("my_app", "my_app_latest", "my_app")
    assert (found.clone_method, found.root, found.migrate) == ("auto", None, None)
    assert set(found.origins) == {setting.name for setting in SETTINGS}
    assert set(found.origins.values()) == {"default"}


def test_precedence(main):
    """Environment over `.env` over `invoke.yaml` over default; an empty value counts as not set."""
    configured = team(db__template="t_team", db__prefix="p_team", db__clone_method="dump")
    (main / ".env").write_text("WORKTREE_DB_PREFIX=p_env\nWORKTREE_CLONE_METHOD=template\nWORKTREE_TEMPLATE_DB=\n")
    found = load(main, configured, {"WORKTREE_CLONE_METHOD": "auto", "WORKTREE_DB_PREFIX": ""})
    assert (found.template, found.prefix, found.clone_method) == ("t_team", "p_env", "auto")
    origins = [found.origins[name] for name in ("template", "prefix", "clone_method", "root")]
    assert origins == ["invoke.yaml", ".env", "environment", "default"]


@pytest.mark.parametrize(
    ("template", "prefix"),
    [
        ("app_latest", "app"),
        ("My-App_latest", "my_app"),
        ("2048", "2048"),
        ("x" * 63, "x" * 40),
        ("_latest", "project"),
    ],
)
def test_the_default_prefix(main, template, prefix):
    """Golden's name without `_latest`, spelled and cut so that it can begin a database's name."""
    assert load(main, {}, {"WORKTREE_TEMPLATE_DB": template}).prefix == prefix


@pytest.mark.parametrize("root", ["~/trees", "../trees", "/trees"])
def test_where_worktrees_go(main, root, home):
    """Relative to the main worktree; `~` is the home directory."""
    found = load(main, {}, {"WORKTREE_ROOT": root})
    expected = {"~/trees": home / "trees", "../trees": main.parent / "trees"}.get(root)
    assert str(found.root) == str(expected or root)


def test_a_command_that_does_nothing(main):
    """`none` switches a command off."""
    assert load(main, {}, {"WORKTREE_MIGRATE": "none"}).migrate == ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"db__templat": "x"}, "unknown setting `db.templat` in invoke.yaml"),
        ({"worktree__database_url": "x"}, "unknown setting"),
        ({"db__template": 5}, "not text"),
        ({"db__prefix": "Has-Caps"}, "cannot begin a database's name"),
        ({"db__prefix": "x" * 41}, "at most 40"),
        ({"db__clone_method": "fast"}, "unknown clone method `fast` in invoke.yaml"),
        ({"worktree__env": ["A"]}, "not a mapping"),
        ({"worktree__env": {"A": 1}}, "is no text"),
        ({"worktree__env": {"A": "{nope}"}}, "template of `A` in invoke.yaml cannot be filled in"),
        ({"worktree__env": {"A": "{"}}, "cannot be filled in"),
        ({"worktree__env": {"WORKTREE_SLUG": "x"}}, "rewrites `WORKTREE_SLUG`"),
        ({"worktree__write": {".env": "x"}}, "names `.env`"),
        ({"worktree__write": {"": "x"}}, "names no file"),
        ({"worktree__write": {"a.json": {"session": "{session}"}}}, "is no text"),
        ({"worktree__write": {"a.json": "{sesion}"}}, "unknown field `sesion`"),
        ({"worktree__copy": ["."]}, "names no file"),
        ({"worktree__after_setup": {"run": "x"}}, "not a command or a list of commands"),
        ({"worktree__env_style": "linked"}, "unknown env style `linked`"),
        ({"worktree__keep_removed": "a week"}, "is no duration"),
        ({"db__companions": ["world"]}, "not a list of mappings"),
        ({"db__companions": [{"name": "world"}]}, "is not understood"),
        ({"db__companions": [{"name": "world", "env": "W", "templte": "x"}]}, "is not understood"),
        ({"db__companions": [{"name": "World!", "env": "W"}]}, "cannot begin a database's name"),
        ({"db__companions": [{"name": "w", "env": "A"}, {"name": "w", "env": "B"}]}, "`w` is used more than once"),
        ({"db__companions": [{"name": "w", "env": "DATABASE_URL"}]}, "`DATABASE_URL` is used more than once"),
        ({"worktree__copy": "seed.env"}, "not a list of paths"),
        ({"worktree__copy": [1]}, "not a list of paths"),
        ({"worktree__copy": ["/etc/passwd"]}, "leaves the worktree"),
        ({"worktree__link": ["a/../../b"]}, "leaves the worktree"),
        ({"worktree__link": [".env"]}, "names `.env`"),
    ],
)
def test_what_cannot_be_meant(main, values, said):
    """The key and the layer are named, with what is wrong."""
    with pytest.raises(SettingsError) as caught:
        load(main, team(**values), {})
    assert said in str(caught.value)


def test_more_keys_for_the_env_file(main):
    """`worktree.env` adds keys; `PORT` and `DATABASE_URL` may be templates of one's own."""
    found = load(main, team(worktree__env={"VITE_PORT": "{port}", "PORT": "1{port}"}), {})
    assert found.env["VITE_PORT"] == "{port}"
    assert found.env["PORT"] == "1{port}"
    assert found.env["DATABASE_URL"] == "{database_url}"


def test_no_password_in_its_text(main):
    """Settings can be printed."""
    assert "s3cret" not in repr(load(main, {}, {"DATABASE_URL": "postgresql://u:s3cret@h/d"}))


@pytest.mark.parametrize(
    ("written", "seconds"), [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400)]
)
def test_ages(main, written, seconds):
    """An age is written in seconds, or with a unit."""
    assert load(main, {}, {"WORKTREE_GOLDEN_MAX_AGE": written}).golden_max_age.total_seconds() == seconds


@pytest.mark.parametrize("written", ["soon", "-1", "1.5h", "5 m", "9999999s"])
def test_no_ages(main, written):
    """Anything else is refused, and the error shows how to write one."""
    with pytest.raises(SettingsError, match="is no duration") as caught:
        load(main, {}, {"WORKTREE_GOLDEN_MAX_AGE": written})
    assert "15m" in caught.value.hint


def test_what_lists_and_mappings_become(main):
    """A single command is a list of one; JSON's braces are no fields; companions have two optional parts."""
    found = load(
        main,
        team(
            worktree__after_setup="bun install",
            worktree__write={"agent.json": '{"sessionName": "{session}", "nested": {}}'},
            db__companions=[
                {"name": "world", "env": "WORLD_URL", "setup": "x"},
                {"name": "e", "env": "E", "template": "t"},
            ],
        ),
        {},
    )
    assert found.after_setup == ("bun install",)
    assert filled(found.write["agent.json"], {"session": "app-a"}) == '{"sessionName": "app-a", "nested": {}}'
    assert [(one.name, one.template, one.setup) for one in found.companions] == [("world", None, "x"), ("e", "t", None)]


def test_the_layered_style(main):
    """Chosen in `.env.local` as well; then the files count in the order in which Next.js reads them."""
    (main / ".env").write_text("WORKTREE_TEMPLATE_DB=last\nPULL_DATABASE_URL=postgresql://db/a\n")
    (main / ".env.local").write_text("WORKTREE_ENV=layered\nWORKTREE_TEMPLATE_DB=first\n")
    found = load(main, {}, {})
    assert found.env_files[0] == ".env.development.local"
    assert (found.template, found.origins["template"]) == ("first", ".env.local")
    assert (found.pull_url, found.origins["pull_url"]) == ("postgresql://db/a", ".env")
