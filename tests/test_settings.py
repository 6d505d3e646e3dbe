"""Settings: layers, defaults, and refusals."""

from __future__ import annotations

import pytest

from tasks_lib.errors import SettingsError
from tasks_lib.settings import SETTINGS, Origin, load
from tasks_lib.settings.values import substitute_env_fields, substitute_fields


@pytest.fixture
def main(tmp_path):
    path = tmp_path / "My App"
    path.mkdir()
    return path


def team(**values):
    return {key.replace("__", "."): Origin(value, "invoke.yaml") for key, value in values.items()}


def test_defaults_follow_from_the_directory_name(main):
    """Golden and the prefix are named after the main worktree's directory."""
    found = load(main, {}, {})
    assert (found.project, found.template, found.prefix) == ("my_app", "my_app_latest", "my_app")
    assert (found.clone_method, found.root, found.migrate) == ("auto", None, None)
    assert set(found.origins) == {setting.name for setting in SETTINGS}
    assert set(found.origins.values()) == {"default"}


def test_environment_wins_over_files_and_default(main):
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
def test_default_prefix_is_goldens_name(main, template, prefix):
    """`_latest` is dropped, and the rest is spelled and cut to be a valid prefix."""
    assert load(main, {}, {"WORKTREE_TEMPLATE_DB": template}).prefix == prefix


@pytest.mark.parametrize("root", ["~/trees", "../trees", "/trees"])
def test_root_is_relative_to_main_worktree(main, root, home):
    """`~` is the home directory."""
    found = load(main, {}, {"WORKTREE_ROOT": root})
    expected = {"~/trees": home / "trees", "../trees": main.parent / "trees"}.get(root)
    assert str(found.root) == str(expected or root)


def test_none_turns_a_command_off(main):
    """The command is then empty, not detected."""
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
        ({"worktree__env": {"A": 1}}, "is not text"),
        ({"worktree__env": {"A": "{nope}"}}, "template of `A` in invoke.yaml cannot be filled in"),
        ({"worktree__env": {"A": "{port:api}"}}, "unknown field `{port:api}`"),
        ({"worktree__env": {"A": "{url:nope}"}}, "unknown field `{url:nope}`"),
        ({"worktree__write": {"a.json": "{database:nope}"}}, "unknown field `{database:nope}`"),
        ({"worktree__ports": ["web", "web"]}, "`web` of `worktree.ports` in invoke.yaml is used twice"),
        ({"worktree__ports": ["Web!"]}, "is not a name"),
        ({"worktree__env_files": {"apps/web/.env": ["A"]}}, "not a mapping of KEY to template for `apps/web/.env`"),
        ({"worktree__env_files": {"../.env": {"A": ""}}}, "leaves the worktree"),
        ({"worktree__env_files": {"./.env": {"A": ""}}}, "`worktree.env` names the keys"),
        ({"worktree__env_files": {"a/.env": {"A": "{nope}"}}}, "template of `A` in `a/.env` in invoke.yaml"),
        ({"worktree__env_files": {"a/.env": {"A": ""}}, "worktree__link": ["a"]}, "`worktree.link` links it"),
        ({"worktree__env_files": {"a/.env": {"A": ""}}, "worktree__write": {"a/.env": ""}}, "writes the whole file"),
        ({"worktree__keep_env": ["DATABASE_URL"]}, "keeps `DATABASE_URL`"),
        ({"worktree__keep_env": ["A"], "worktree__env": {"A": "x"}}, "keeps `A`, which other settings rewrite"),
        ({"worktree__env": {"A": "{"}}, "cannot be filled in"),
        ({"worktree__env": {"WORKTREE_SLUG": "x"}}, "rewrites `WORKTREE_SLUG`"),
        ({"worktree__write": {".env": "x"}}, "names `.env`"),
        ({"worktree__write": {"": "x"}}, "names no file"),
        ({"worktree__write": {"a.json": {"session": "{session}"}}}, "is not text"),
        ({"worktree__write": {"a.json": "{sesion}"}}, "unknown field `{sesion}`"),
        ({"worktree__copy": ["."]}, "names no file"),
        ({"worktree__after_setup": {"run": "x"}}, "not a command or a list of commands"),
        ({"worktree__env_style": "linked"}, "unknown env style `linked`"),
        ({"worktree__keep_removed": "a week"}, "is not a duration"),
        ({"db__companions": ["world"]}, "not a list of mappings"),
        ({"db__companions": [{"name": "world"}]}, "cannot read a companion"),
        ({"db__companions": [{"name": "world", "env": "W", "templte": "x"}]}, "cannot read a companion"),
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
def test_invalid_value_is_refused(main, values, said):
    """The error names the key and the layer."""
    with pytest.raises(SettingsError) as caught:
        load(main, team(**values), {})
    assert said in str(caught.value)


def test_worktree_env_adds_and_replaces_templates(main):
    """Other keys keep their default templates."""
    found = load(main, team(worktree__env={"VITE_PORT": "{port}", "PORT": "1{port}"}), {})
    assert found.env["VITE_PORT"] == "{port}"
    assert found.env["PORT"] == "1{port}"
    assert found.env["DATABASE_URL"] == "{database_url}"


def test_fields_of_ports_and_companions_are_known(main):
    """Braces are doubled in env templates; in files only what looks like a field is one. A kept PORT stays."""
    found = load(
        main,
        team(
            worktree__ports=["web", "api"],
            worktree__env={"API": "{{{port:api}}} {url:world}"},
            worktree__write={"a.js": "{port:api} {a:1}"},
            worktree__keep_env=["PORT"],
            db__companions=[{"name": "world", "env": "W"}],
        ),
        {},
    )
    fields = {"port:api": "1", "url:world": "u"}
    assert substitute_env_fields(found.env["API"], fields) == "{1} u"
    assert substitute_fields(found.write["a.js"], fields) == "1 {a:1}"
    assert "PORT" not in found.env


def test_repr_contains_no_password(main):
    """Settings can be printed safely."""
    assert "s3cret" not in repr(load(main, {}, {"DATABASE_URL": "postgresql://u:s3cret@h/d"}))


@pytest.mark.parametrize(
    ("written", "seconds"), [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400)]
)
def test_duration_is_seconds_or_has_unit(main, written, seconds):
    """A bare number counts seconds."""
    assert load(main, {}, {"WORKTREE_GOLDEN_MAX_AGE": written}).golden_max_age.total_seconds() == seconds


@pytest.mark.parametrize("written", ["soon", "-1", "1.5h", "5 m", "9999999s"])
def test_invalid_duration_is_refused(main, written):
    """The hint shows how to write a duration."""
    with pytest.raises(SettingsError, match="is not a duration") as caught:
        load(main, {}, {"WORKTREE_GOLDEN_MAX_AGE": written})
    assert "15m" in caught.value.hint


def test_lists_and_mappings_are_parsed(main):
    """A single command is a list of one, JSON's braces are not fields, and a companion has two optional parts."""
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
    assert (
        substitute_fields(found.write["agent.json"], {"session": "app-a"}) == '{"sessionName": "app-a", "nested": {}}'
    )
    assert [(companion.name, companion.template, companion.setup) for companion in found.companions] == [
        ("world", None, "x"),
        ("e", "t", None),
    ]


def test_layered_style_reads_env_local_first(main):
    """`.env.local` may choose the style; the files then count in the order in which Next.js reads them."""
    (main / ".env").write_text("WORKTREE_TEMPLATE_DB=last\nPULL_DATABASE_URL=postgresql://db/a\n")
    (main / ".env.local").write_text("WORKTREE_ENV=layered\nWORKTREE_TEMPLATE_DB=first\n")
    found = load(main, {}, {})
    assert found.style_files[0] == ".env.development.local"
    assert (found.template, found.origins["template"]) == ("first", ".env.local")
    assert (found.pull_url, found.origins["pull_url"]) == ("postgresql://db/a", ".env")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_each_setting_is_declared_once(main, setting):
    """A row of the table is a field of `Settings`, and its default passes its own parser."""
    assert hasattr(load(main, {}, {}), setting.name)
    assert setting.default_text
