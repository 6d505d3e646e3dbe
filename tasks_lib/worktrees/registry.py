"""
The registry: one JSON file per worktree in the git common directory, and the locks around it.

A record in state `creating` or `removing` is unfinished work, which the next run finishes. The
worktree's own administrative directory (`.git/worktrees/<id>`) holds a file with the slug: it
moves with `git worktree move` and is deleted by `git worktree remove`, so record and worktree refer
to each other whatever happens to paths and branches.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tasks_lib.databases.copy.result import CloneSummary
from tasks_lib.databases.ownership.signer import KEY_BYTES, Signer
from tasks_lib.errors import RegistryError, find_cure
from tasks_lib.files import (
    STATE_FOLDER,
    WAIT_SECONDS,
    LockHeldError,
    atomic_write,
    file_lock,
    find_holder,
    make_state_folder,
)
from tasks_lib.git.remotes import Tracking
from tasks_lib.worktrees.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.waits import Holder

State = Literal["creating", "ready", "removing"]

SCHEMA_VERSION = 1

PORTLESS = "portless"
"""The one-off step that registers the dev URL."""

_FETCH_SECONDS = 600.0
"""How long to wait for another process's `git fetch`, which may bring gigabytes."""
_IDENTITY = "repository.json"
_KEY = "ownership.key"


_WORK_SECONDS = 0.1
"""How long to wait for another process that works on the worktree: longer than `find_worker` takes."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    One worktree.

    Attributes:
        identity: Its names.
        path: Where it was made; `Registry.paths` knows where it is now.
        port: Its lease, the first one.
        ports: The leases of named ports; *port* is among them if there are any.
        number: Unique among the repository's worktrees, from 1; 0 in a record of an earlier version.
        state: How far it is.
        golden: The golden template it is cloned from.
        server: The server, without a password.
        base: The commit at which this tool created the branch; None when the branch was there before.
        tracking: What the branch tracked when this tool created it.
        made_worktree: Whether this tool made the worktree; an adopted one is never rolled back.
        clone: How its database was created; None until it is.
        created_at: When, in ISO 8601 with offset.
        done: The one-off steps that have run, see `once`.
    """

    identity: Identity
    path: str
    port: int
    state: State
    golden: str
    server: str
    base: str | None
    made_worktree: bool
    clone: CloneSummary | None = None
    created_at: str = msgspec.field(default="", name="created")
    done: tuple[str, ...] = ()
    tracking: Tracking | None = None
    ports: dict[str, int] = {}
    number: int = 0

    @property
    def slug(self) -> str:
        """The record's key."""
        return self.identity.slug

    @property
    def address(self) -> str:
        """Where a browser reaches the application: the dev URL if portless serves it, else the port."""
        return self.identity.dev_url if PORTLESS in self.done else f"http://localhost:{self.port}"

    @property
    def all_ports(self) -> set[int]:
        """All its leases."""
        return {self.port, *self.ports.values()}


@dataclass(frozen=True)
class Registry:
    """
    The records of one repository.

    Attributes:
        common: The git common directory.
        looks: Whether the command only looks, and nothing may be written.
    """

    common: Path
    looks: bool = False

    @property
    def directory(self) -> Path:
        """Everything that this tool keeps in the git common directory."""
        return self.common / STATE_FOLDER

    @property
    def repository_id(self) -> str:
        """The id of this repository in ownership comments."""
        return self.signer.repository

    @cached_property
    def signer(self) -> Signer:
        """
        Return this repository's id and its secret key, created on first use.

        Both stay when the repository moves. A copy gets new ones, so that it cannot drop the original's databases.

        Raises:
            RegistryError: If a file that holds them cannot be read or written.
        """
        here = str(self.common)
        if (found := self._read_signer()) and found[1] == here:
            return found[0]
        if self.looks:
            # Nothing was signed with a key that does not exist.
            return found[0] if found and not self._is_copy() else Signer(secrets.token_hex(8), bytes(KEY_BYTES))
        try:
            with self.locked():
                found = self._read_signer()
                if found is None or found[1] != here:
                    signer = found[0] if found and not self._is_copy() else self._create_signer()
                    write_json(self.directory / _IDENTITY, {"id": signer.repository, "common": here})
                    return signer
        except RegistryError:
            if found is None or self._is_copy():
                raise
        return found[0]  # also where nothing can be written, as in a read-only mount under another path

    def _read_signer(self) -> tuple[Signer, str] | None:
        """Return the id with the key, and the path that they were created for; None if either is missing."""
        identity, key = self._read_identity(), self._read_key()
        return (Signer(str(identity["id"]), key), str(identity.get("common"))) if identity and key else None

    def _create_signer(self) -> Signer:
        """Write a key, and return it with the id: a new one, unless only the key is missing."""
        identity = self._read_identity()
        keeps = identity is not None and not self._is_copy()
        signer = Signer(
            str(identity["id"]) if identity and keeps else secrets.token_hex(8), secrets.token_bytes(KEY_BYTES)
        )
        path = self.directory / _KEY
        try:
            atomic_write(path, signer.key.hex(), durable=True)
        except OSError as error:
            raise _unwritable(path, error) from None
        return signer

    def _is_copy(self) -> bool:
        """Whether the directory is a copy of another one that still exists."""
        identity = self._read_identity()
        if identity is None:
            return False
        original = Path(str(identity.get("common"))) / STATE_FOLDER / _IDENTITY
        # The same file under another name (a bind mount, another case on macOS) is not a copy.
        other = original.exists() and not original.samefile(self.directory / _IDENTITY)
        return other and read_json(original).get("id") == identity.get("id")

    def _read_identity(self) -> dict[str, Any] | None:
        with suppress(FileNotFoundError):
            return read_json(self.directory / _IDENTITY)
        return None

    def _read_key(self) -> bytes | None:
        path = self.directory / _KEY
        try:
            key = bytes.fromhex(path.read_text(encoding="ascii"))
            if len(key) != KEY_BYTES:
                raise ValueError(f"{len(key)} bytes instead of {KEY_BYTES}")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            # The error of `fromhex` names a position, never what is there.
            raise RegistryError(
                f"the key `{path}` cannot be read",
                why=f"{error}\nit proves which databases belong to this repository",
                hint="restore the file; or delete it, and sign the databases with a new key:\ninv db.sign",
            ) from None
        return key

    def records(self) -> list[Record]:
        """
        Return all records, by slug.

        Raises:
            RegistryError: If one cannot be read. A broken record must not count as missing.
        """
        slugs = sorted(path.stem for path in (self.directory / "worktrees").glob("*.json"))
        # Another process may have just deleted one.
        return [record for slug in slugs if (record := self.find(slug)) is not None]

    def find(self, slug: str) -> Record | None:
        """
        Return the record of *slug*, None if it does not exist.

        Raises:
            RegistryError: If it cannot be read.
        """
        try:
            return self._read(self._path(slug))
        except FileNotFoundError:
            return None

    def require(self, slug: str) -> Record:
        """
        Return the record of *slug*.

        Raises:
            RegistryError: If it does not exist or cannot be read.
        """
        record = self.find(slug)
        if record is None:
            raise RegistryError(f"worktree `{slug}` has no record")
        return record

    def save(self, record: Record) -> Record:
        """Write *record* atomically, and return it."""
        write_json(self._path(record.slug), encode_record(record))
        return record

    def update(self, slug: str, **changes: Any) -> Record:
        """
        Change fields of the record of *slug*.

        Raises:
            RegistryError: If it does not exist.
        """
        # Steps of one stage write at the same time.
        with self.locked():
            return self.save(msgspec.structs.replace(self.require(slug), **changes))

    def delete(self, slug: str) -> None:
        """Delete the record of *slug*, if there is one."""
        self._path(slug).unlink(missing_ok=True)

    def paths(self) -> dict[str, Path]:
        """Return where git says that the marked worktrees are now, by slug; their directories may be gone."""
        found = {}
        for mark in self.common.glob("worktrees/*/goldentree"):
            with suppress(FileNotFoundError):  # just being removed
                # Relative to the administrative directory under worktree.useRelativePaths.
                pointer = mark.parent / os.fsdecode((mark.parent / "gitdir").read_bytes()).rstrip("\n")
                found[mark.read_text()] = Path(os.path.realpath(pointer.parent))
        return found

    def mark(self, git_directory: Path, slug: str) -> None:
        """Write *slug* into the worktree's administrative directory."""
        atomic_write(git_directory / "goldentree", slug)

    def unmark(self, git_directory: Path) -> None:
        """Delete the slug from the worktree's administrative directory."""
        (git_directory / "goldentree").unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Hold the repository's lock. Only for milliseconds: every other process waits.

        Raises:
            RegistryError: If another process still holds it after a minute.
        """
        with self._lock("lock", timeout=WAIT_SECONDS):
            yield

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """
        Hold the lock around `git fetch`: a second one would fail to lock the same refs. Others wait.

        Raises:
            RegistryError: If another process still holds it after ten minutes.
        """
        with self._lock("fetch.lock", timeout=_FETCH_SECONDS):
            yield

    @contextmanager
    def working_on(self, slug: str) -> Iterator[None]:
        """
        Hold the lock of one worktree while it is created or removed.

        The kernel releases it when the process dies, so a record in `creating` whose lock is free is unfinished work.

        Raises:
            RegistryError: If another process holds it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self._file_lock(f"worktrees/{slug}.lock", timeout=_WORK_SECONDS))
            except LockHeldError as error:
                raise RegistryError(f"{error.holder} is working on worktree `{slug}`", hint=error.holder.cure) from None
            yield

    def find_worker(self, slug: str) -> Holder | None:
        """Return the process that holds the lock of the worktree *slug*, None if there is none. Changes nothing."""
        return find_holder(self.directory / "worktrees" / f"{slug}.lock")

    @contextmanager
    def _lock(self, name: str, *, timeout: float) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(self._file_lock(name, timeout=timeout))
            except LockHeldError as error:
                raise RegistryError(
                    f"{error.holder} has held `{self.directory / name}` for {timeout:g} s", hint=error.holder.cure
                ) from None
            yield

    @contextmanager
    def _file_lock(self, name: str, *, timeout: float) -> Iterator[None]:
        path = self.directory / name
        with ExitStack() as stack:
            try:
                make_state_folder(path.parent)
                stack.enter_context(file_lock(path, timeout=timeout))
            except OSError as error:
                raise _unwritable(path, error) from None
            yield

    def _path(self, slug: str) -> Path:
        return self.directory / "worktrees" / f"{slug}.json"

    def _read(self, path: Path) -> Record:
        data = read_json(path)
        try:
            return decode_record(data)
        except ValueError as error:
            raise unreadable(path, error) from None


def encode_record(record: Record) -> dict[str, Any]:
    """Return *record* as the JSON object that is written."""
    return {"schema_version": SCHEMA_VERSION, **msgspec.to_builtins(record)}


def decode_record(data: Any) -> Record:
    """
    Return the record that was written as *data*.

    Raises:
        ValueError: If *data* is not a record of this schema version.
    """
    fields = msgspec.convert(data, dict[str, Any])
    version = fields.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version}, expected {SCHEMA_VERSION}")
    return msgspec.convert(fields, Record)


def current_time() -> str:
    """Return the current time for records and ownership comments: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_json(path: Path) -> dict[str, Any]:
    """
    Read the object in the JSON file *path*.

    Raises:
        FileNotFoundError: If the file does not exist.
        RegistryError: If it cannot be read.
    """
    try:
        data = json.loads(path.read_bytes())
        if not isinstance(data, dict):
            raise TypeError(f"a {type(data).__name__} instead of an object")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise unreadable(path, error) from None
    return data


def unreadable(path: Path, error: Exception) -> RegistryError:
    """Return the error for a file that this tool did not write, or that was damaged."""
    return RegistryError(
        f"record `{path}` cannot be read",
        why=f"{error}\nignoring it would free its port and orphan its database",
        hint="restore the file, or remove it after looking at `git worktree list` and the server's databases",
    )


def _unwritable(path: Path, error: OSError) -> RegistryError:
    return RegistryError(
        f"`{path}` cannot be written: {error.strerror}",
        hint=find_cure(str(error), path.parent) or "check its permissions and the free space there",
    )


def write_json(path: Path, data: dict[str, Any]) -> None:
    """
    Write *data* to the JSON file *path* atomically.

    Raises:
        RegistryError: If it cannot be written.
    """
    try:
        make_state_folder(path.parent)
        atomic_write(path, json.dumps(data, indent=2), durable=True)
    except OSError as error:
        raise _unwritable(path, error) from None
