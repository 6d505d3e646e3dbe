"""A fresh database, and the tools that come from npm."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

pytest.register_assert_rewrite("toolchains.contract")

from toolchains.contract import NODE  # noqa: E402 - its assertions are rewritten only from here on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def database(server_url: str) -> Iterator[str]:
    """Yield the URL of an empty database, as users write it."""
    name = f"toolchain_{uuid4().hex[:8]}"
    at = conninfo_to_dict(server_url)
    login = f"{at['user']}:{quote(str(at['password']), safe='')}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        # dbmate's driver insists on TLS unless told otherwise.
        yield f"postgresql://{login}@{at['host']}:{at['port']}/{name}?sslmode=disable"
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install dbmate and drizzle-kit from npm."""
    home = tmp_path_factory.mktemp("npm")
    (home / "package.json").write_text('{"private": true}')
    npm = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    packages = ("dbmate@2", "drizzle-kit@0.31", "drizzle-orm@0.45", "pg@8")
    subprocess.run(
        [NODE / "bin" / "node", npm, "install", "--no-audit", "--no-fund", *packages],
        cwd=home,
        env={**os.environ, "PATH": f"{NODE / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        check=True,
    )
    return home / "node_modules"
