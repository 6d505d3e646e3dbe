"""
Status: what a worktree's database is, and how it stands to golden and to the branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.toolchains.choose import ledger_toolchain
from tasks_lib.worktrees import guard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasks_lib.databases.facts import Difference
    from tasks_lib.toolchains.base import Drift
    from tasks_lib.worktrees.project import Project


@dataclass(frozen=True)
class Status:
    """
    One worktree's database.

    Attributes:
        url: Without the password.
        clone: Method, seconds, bytes and time of the clone.
        toolchain: The tool whose ledger *drift* was read from, None when none is detected.
        drift: `missing` counts what golden's ledger, or the clone's, has and the branch lacks.
    """

    branch: str
    slug: str
    database: str
    url: str
    golden: str
    bytes: int
    tables: int
    clone: dict[str, Any] | None
    toolchain: str | None
    drift: Drift | None


@dataclass(frozen=True)
class Check:
    """One line of a comparison: the same figure from both databases."""

    name: str
    golden: Any
    clone: Any
    equal: bool


@dataclass(frozen=True)
class Verification:
    """A comparison: its lines, and every single difference."""

    checks: list[Check]
    differences: list[Difference]


def status(project: Project, environ: Mapping[str, str]) -> Status:
    """
    Examine the database of the worktree that we stand in.

    Raises:
        GoldentreeError: If there is none, or DATABASE_URL does not name it.
    """
    from tasks_lib.databases import inspect  # noqa: PLC0415 - loads psycopg

    record, here = project.require_record_here(), project.repository.here
    url = guard.require_own_database(project, record, here, environ)
    toolchain = ledger_toolchain(here, project.settings.migrate)
    drift = None
    if toolchain is not None:
        ledger = toolchain.ledger
        recorded = inspect.column(project.server, record.identity.database, ledger.table, ledger.query)
        golden = inspect.column(project.server, record.golden, ledger.table, ledger.query)
        drift = toolchain.drift(recorded)
        missing = {*drift.missing, *toolchain.drift(golden).missing}
        drift = type(drift)(drift.applied, drift.pending, tuple(sorted(missing)))
    size, tables = inspect.size_and_tables(project.server, record.identity.database)
    return Status(
        branch=record.identity.branch,
        slug=record.slug,
        database=record.identity.database,
        url=url.masked,
        golden=record.golden,
        bytes=size,
        tables=tables,
        clone=record.clone,
        toolchain=toolchain.name if toolchain else None,
        drift=drift,
    )


def verify(project: Project, environ: Mapping[str, str]) -> Verification:
    """
    Compare the database of the worktree that we stand in with the golden template.

    Raises:
        GoldentreeError: If there is none, or DATABASE_URL does not name it.
    """
    from tasks_lib.databases import facts, inspect  # noqa: PLC0415 - loads psycopg

    record, here = project.require_record_here(), project.repository.here
    guard.require_own_database(project, record, here, environ)
    golden = inspect.facts_of(project.server, record.golden)
    clone = inspect.facts_of(project.server, record.identity.database)
    checks = [
        Check("locale", _one(golden.locale), _one(clone.locale), golden.locale == clone.locale),
        Check("extensions", len(golden.extensions), len(clone.extensions), golden.extensions == clone.extensions),
        Check("tables", len(golden.tables), len(clone.tables), golden.tables.keys() == clone.tables.keys()),
        Check("rows", golden.rows, clone.rows, golden.tables == clone.tables),
        Check("sequences", len(golden.sequences), len(clone.sequences), golden.sequences == clone.sequences),
        *(
            Check(kind, golden.objects.get(kind, 0), clone.objects.get(kind, 0), equal)
            for kind in sorted({*golden.objects, *clone.objects})
            for equal in [golden.objects.get(kind) == clone.objects.get(kind)]
        ),
    ]
    toolchain = ledger_toolchain(here, project.settings.migrate)
    if toolchain is not None:
        ledger = toolchain.ledger
        recorded = [
            sorted(inspect.column(project.server, name, ledger.table, ledger.query))
            for name in (record.golden, record.identity.database)
        ]
        title = "ledger " + ledger.table.replace('"', "")
        checks.append(Check(title, len(recorded[0]), len(recorded[1]), recorded[0] == recorded[1]))
    return Verification(checks, facts.differences(golden, clone))


def _one(locale: dict[str, str]) -> str:
    return " ".join(locale.get(key, "") for key in ("encoding", "datlocprovider", "datcollate")).strip()
