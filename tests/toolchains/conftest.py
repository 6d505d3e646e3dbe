"""A fresh database, and the tools that come from npm."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import platformdirs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

pytest.register_assert_rewrite("tests.toolchains.contract")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def database(server_url: str) -> Iterator[str]:
    """Yield the URL of an empty database, as users write it."""
    name, role, password = f"toolchain_{uuid4().hex[:8]}", f"role_{uuid4().hex[:8]}", uuid4().hex
    at = conninfo_to_dict(server_url)
    with psycopg.connect(server_url, autocommit=True) as server:
        # A role of its own: dbmate's driver refuses the superuser's single round of SCRAM.
        server.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(sql.Identifier(role), password))
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        # It insists on TLS unless told otherwise, too.
        yield f"postgresql://{role}:{password}@{at['host']}:{at['port']}/{name}?sslmode=disable"
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture(scope="session")
def cargo() -> dict[str, str]:
    """Give the environment of cargo with its real folders: in a test's home directory it knows nothing."""
    cache = platformdirs.user_cache_path("goldentree-tests")
    return {
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(Path.home() / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
        # Dependencies are compiled once for all projects.
        "CARGO_TARGET_DIR": str(cache / "target"),
        "CARGO_INSTALL_ROOT": str(cache),
        "PATH": os.pathsep.join([os.environ["PATH"], str(cache / "bin")]),
    }


@pytest.fixture
def cargo_tool(cargo: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that puts a crate's program on PATH, compiled once per machine."""
    for name, value in cargo.items():
        monkeypatch.setenv(name, value)

    def install(program: str, crate: str, *options: str) -> None:
        if not shutil.which(program):
            subprocess.run(["cargo", "install", "--locked", crate, *options], stdin=subprocess.DEVNULL, check=True)

    return install
