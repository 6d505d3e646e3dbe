"""How the application of a repository is started."""

from __future__ import annotations

import pytest

from tasks_lib.scaffold.detect import run_command


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"justfile": "default:\n  ls\n\n@dev port='3000': build\n  ./serve\n"}, "just dev"),
        ({"justfile": "dev := 'x'\ndevelop:\n  ls\n"}, None),
        ({"package.json": '{"scripts": {"dev": "next"}}'}, "npm run dev"),
        ({"package.json": '{"scripts": {"dev": "next"}}', "pnpm-lock.yaml": ""}, "pnpm run dev"),
        ({"package.json": '{"scripts": {"dev": "next"}}', "bun.lock": ""}, "bun run dev"),
        ({"package.json": '{"scripts": {"start": "next"}, "dev": 1}'}, None),
        ({"package.json": "{", "Procfile.dev": "web: ./serve\n"}, "foreman start --procfile Procfile.dev"),
        ({"justfile": "dev:\n  ls\n", "package.json": '{"scripts": {"dev": "next"}}'}, "just dev"),
    ],
)
def test_run_command_is_detected(tmp_path, files, command):
    """The recipe, the script with its package manager, or the Procfile; nothing is guessed."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert run_command(tmp_path) == command
