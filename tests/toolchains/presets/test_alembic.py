"""Alembic and sqlacodegen, the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic.config import main as alembic

from tasks_lib.errors import ToolchainError
from tasks_lib.toolchains.base import Drift
from tasks_lib.toolchains.presets.alembic import Alembic
from tasks_lib.toolchains.presets.sqlacodegen import MARK
from tests.toolchains.contract import SQL, Project, RealToolContract, ToolchainContract, execute, write

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.toolchains.base import Toolchain

INI = "[alembic]\nscript_location = %(here)s/app/migrations\nfile_template = %%(rev)s_%%(slug)s\n"

ENV = """
import os
from alembic import context
from sqlalchemy import create_engine
url = os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def revision(key: str, down: object, body: str = "pass") -> str:
    return (
        "from alembic import op\n"
        f"revision: str = {key!r}\n"
        f"down_revision: str | tuple[str, ...] | None = {down!r}\n\n\n"
        f"def upgrade():\n    {body}\n"
    )


class AlembicProject(Project):
    adapter = Alembic
    # Not in the order of their names.
    keys = ("c3", "a1", "b2")
    files = {"alembic.ini": INI, "app/migrations/env.py": ENV, "pyproject.toml": ""}

    def migration(self, number: int) -> tuple[str, str]:
        down = self.keys[number - 1] if number else None
        text = revision(self.keys[number], down, f"op.execute({SQL[number]!r})")
        return f"app/migrations/versions/{self.keys[number]}_step.py", text


class TestAlembic(AlembicProject, ToolchainContract):
    def test_migrations_before_the_head_are_applied(self, toolchain: Toolchain) -> None:
        """The migration history has only the head; all migrations before it are applied."""
        assert toolchain.drift(["a1"]) == Drift(("c3_step", "a1_step"), ("b2_step",), ())

    def test_nothing_is_pending_at_an_unknown_head(self, toolchain: Toolchain) -> None:
        """At a head that the branch lacks, no migration is pending, because Alembic would refuse."""
        assert toolchain.drift(["f6"]) == Drift((), (), ("f6",))

    def test_merges_and_dependencies_count(self, worktree: Path, toolchain: Toolchain) -> None:
        """A merge revision has all branches behind it, and `depends_on` counts."""
        versions = "app/migrations/versions"
        write(
            worktree,
            {
                f"{versions}/d4.py": revision("d4", "c3"),
                f"{versions}/e5.py": revision("e5", None),
                f"{versions}/f6.py": revision("f6", ("b2", "d4")) + "\ndepends_on = 'e5'\n",
            },
        )
        assert toolchain.drift(["f6"]).pending == ()
        assert set(toolchain.drift(["b2", "d4"]).pending) == {"e5", "f6"}

    def test_a_file_with_conflict_markers(self, worktree: Path, toolchain: Toolchain) -> None:
        """A version file in the middle of a merge is an error that names it."""
        write(worktree, {"app/migrations/versions/d4.py": "<<<<<<< HEAD\n"})
        with pytest.raises(ToolchainError, match=r"versions/d4\.py` cannot be read"):
            toolchain.migrations()

    def test_revisions_that_form_a_cycle_are_an_error(self, worktree: Path, toolchain: Toolchain) -> None:
        """Alembic could not order them either."""
        write(worktree, {"app/migrations/versions/c3_step.py": revision("c3", "b2")})
        with pytest.raises(ToolchainError, match="form a cycle"):
            toolchain.migrations()

    def test_history_table_may_be_renamed(self, worktree: Path, toolchain: Toolchain) -> None:
        """The table's name is read from `env.py`."""
        assert toolchain.history.table == '"alembic_version"'
        options = "version_table='applied', version_table_schema='crm'"
        write(worktree, {"app/migrations/env.py": f"context.configure({options})"})
        assert toolchain.history.table == '"crm"."applied"'

    @pytest.mark.parametrize("template", ["generic", "pyproject", "async"])
    def test_projects_by_alembic_init_are_detected(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
    ) -> None:
        """Projects that `alembic init` and `alembic revision` wrote are understood."""
        monkeypatch.chdir(tmp_path)
        if template == "pyproject":
            write(tmp_path, {"pyproject.toml": ""})
        for arguments in (["init", "-t", template, "db/scripts"], ["revision", "-m", "one"], ["revision", "-m", "two"]):
            alembic(arguments)
        assert Alembic.detect(tmp_path)
        assert [name.partition("_")[2] for name in Alembic(tmp_path).migrations().values()] == ["one", "two"]

    def test_several_version_folders_are_read(self, tmp_path: Path) -> None:
        """`version_locations` may name several folders, and one inside a package."""
        write(
            tmp_path,
            {
                "alembic.ini": "[alembic]\nscript_location = scripts\npath_separator = newline\n"
                "version_locations = %(here)s/one\n  crm.core:two\n",
                "one/a.py": revision("a", None),
                "crm/core/two/b.py": revision("b", "a"),
            },
        )
        assert list(Alembic(tmp_path).migrations()) == ["a", "b"]


class TestSqlacodegen(AlembicProject):
    files = {**AlembicProject.files, "pyproject.toml": '[project]\ndependencies = ["psycopg[binary]", "sqlacodegen"]\n'}

    def test_generates_for_projects_that_use_it(self, worktree: Path, toolchain: Toolchain) -> None:
        """A project that does not depend on sqlacodegen gets no models."""
        assert toolchain.generate(None).output == worktree / "app/models_generated.py"
        write(worktree, {"pyproject.toml": ""})
        assert toolchain.generate(None) is None

    def test_generates_into_the_configured_file(self, worktree: Path, toolchain: Toolchain) -> None:
        """A configured file is generated even if the project does not depend on sqlacodegen."""
        write(worktree, {"pyproject.toml": ""})
        assert toolchain.generate(worktree / "models.py").output == worktree / "models.py"

    @pytest.mark.parametrize(
        ("requirement", "scheme"),
        [
            ("psycopg[binary]", "postgresql+psycopg://"),
            ("psycopg2-binary", "postgresql+psycopg2://"),
            ("", "postgresql://"),
        ],
    )
    def test_uses_the_projects_driver(
        self, worktree: Path, toolchain: Toolchain, requirement: str, scheme: str
    ) -> None:
        """The argument list names the driver that the project depends on, and nothing of the login."""
        (worktree / "pyproject.toml").unlink()
        write(worktree, {"requirements-dev.txt": f"{requirement}\nsqlacodegen>=4\n"})
        assert toolchain.generate(None).argv == ("sqlacodegen", scheme)

    def test_models_of_a_real_database(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """Every table becomes a model, and a later run brings the file up to date."""
        models = worktree / "app/models_generated.py"
        execute(toolchain.generate(None), database, worktree)
        assert "class" not in models.read_text()
        execute(toolchain.migrate(), database, worktree)
        execute(toolchain.generate(None), database, worktree)
        text = models.read_text()
        assert text.startswith(f"{MARK}\n")
        assert all(f"class {name}(" in text for name in ("Contact", "Message", "Task"))
        assert "alembic" not in text
        compile(text, models, "exec")

    def test_hand_written_models_are_kept(self, worktree: Path, toolchain: Toolchain) -> None:
        """A file that was not generated is never overwritten."""
        write(worktree, {"app/models.py": "class Contact: ...\n"})
        with pytest.raises(ToolchainError, match=r"models\.py` exists and was not generated"):
            toolchain.generate(worktree / "app/models.py")

    def test_a_failure_keeps_the_old_models(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """When sqlacodegen fails, the file stays as it was and nothing half-written lies beside it."""
        write(worktree, {"app/models_generated.py": f"{MARK}\nold\n"})
        with pytest.raises(ToolchainError, match="does not exist"):
            execute(toolchain.generate(None), database.replace("/toolchain_", "/no_such_"), worktree)
        assert (worktree / "app/models_generated.py").read_text() == f"{MARK}\nold\n"
        assert [path.name for path in (worktree / "app").glob("*models*")] == ["models_generated.py"]


class TestAlembicForReal(AlembicProject, RealToolContract):
    def test_a_branch_with_two_heads(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """Before its merge revision is written, a branch migrates to both heads."""
        write(worktree, {"app/migrations/versions/d4.py": revision("d4", "c3")})
        execute(toolchain.migrate(), database, worktree)
        with psycopg.connect(database) as connection:
            heads = connection.execute("SELECT version_num FROM alembic_version ORDER BY 1").fetchall()
        assert heads == [("b2",), ("d4",)]
        assert toolchain.drift(["b2", "d4"]).pending == ()
