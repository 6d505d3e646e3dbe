"""SQLx: files and commands here; `nox -s seaorm` compiles and runs the tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tasks_lib.toolchains.presets.sqlx import SQLx
from tests.toolchains.contract import SQL, Project, RealToolContract, ToolchainContract, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tasks_lib.toolchains.base import Toolchain


class SQLxProject(Project):
    adapter = SQLx
    keys = ("1", "2", "10")
    files = {"Cargo.toml": '[package]\nname = "app"\n\n[dependencies]\nsqlx = { version = "0.9" }\n'}

    def migration(self, number: int) -> tuple[str, str]:
        return f"migrations/{self.keys[number]:0>2}_step.up.sql", SQL[number]

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        write(folder, {f"migrations/{key:0>2}_step.down.sql": "SELECT 1" for key in self.keys})


class TestSQLx(SQLxProject, ToolchainContract):
    def test_sqlx_as_a_feature_is_not_detected(self, tmp_path: Path) -> None:
        """A crate that names sqlx only as a feature of SeaORM does not use its migrations."""
        cargo = '[dependencies]\nsea-orm = { version = "1", features = ["sqlx-postgres"] }\n'
        write(tmp_path, {"Cargo.toml": cargo, "migrations/1_init.sql": ""})
        assert not SQLx.detect(tmp_path)

    def test_sqlx_in_a_workspace_is_detected(self, tmp_path: Path) -> None:
        """A workspace may declare sqlx for its crates."""
        write(tmp_path, {"Cargo.toml": '[workspace.dependencies]\nsqlx = "0.9"\n', "migrations/1_init.sql": ""})
        assert SQLx.detect(tmp_path)

    def test_generates_only_where_query_data_is_kept(self, worktree: Path, toolchain: Toolchain) -> None:
        """`cargo sqlx prepare` compiles the project, so it runs only for projects that keep its result."""
        assert toolchain.generate(None) is None
        (worktree / ".sqlx").mkdir()
        assert toolchain.generate(None).argv == ("cargo", "sqlx", "prepare")


# On a machine without a cargo cache, the first test compiles for up to nine minutes.
@pytest.mark.timeout(1800)
@pytest.mark.seaorm
class TestSQLxForReal(SQLxProject, RealToolContract):
    @pytest.fixture(autouse=True)
    def installed(self, cargo_tool: Callable[..., None]) -> None:
        cargo_tool("sqlx", "sqlx-cli", "--no-default-features", "--features", "rustls,postgres")

    def without_the_last(self, worktree: Path) -> None:
        for path in (worktree / "migrations").glob(f"{self.keys[2]}_*"):
            path.unlink()
