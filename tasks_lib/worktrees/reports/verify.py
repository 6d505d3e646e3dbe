"""
Compare a worktree's database with the golden template: rows, sequences, objects, migrations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.toolchains.choose import find_history_toolchain
from tasks_lib.worktrees.env.guard import require_own_database

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasks_lib.databases.compare.contents import Difference
    from tasks_lib.worktrees.project import Project


@dataclass(frozen=True)
class Check:
    """One figure, from both databases."""

    name: str
    golden: Any
    clone: Any
    equal: bool


@dataclass(frozen=True)
class Verification:
    """The comparison of two databases, with every difference."""

    checks: list[Check]
    differences: list[Difference]


def report_verification(project: Project, environ: Mapping[str, str]) -> Verification:
    """
    Compare the current worktree's database with the golden template.

    Raises:
        GoldentreeError: If the worktree has no database, or DATABASE_URL names another one.
    """
    from tasks_lib.databases.compare import contents, queries

    record, path = project.require_record_here(), project.repository.current
    require_own_database(project, record, path, environ)
    golden = queries.read_contents_of(project.server, record.golden)
    clone = queries.read_contents_of(project.server, record.identity.database)
    checks = [
        Check("locale", _format_locale(golden.locale), _format_locale(clone.locale), golden.locale == clone.locale),
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
    toolchain = find_history_toolchain(path, project.settings.migrate, project.settings.history)
    if toolchain is not None:
        history = toolchain.history
        recorded = [
            sorted(queries.read_migrations(project.server, name, *history))
            for name in (record.golden, record.identity.database)
        ]
        title = "migration history " + history.table.replace('"', "")
        checks.append(Check(title, len(recorded[0]), len(recorded[1]), recorded[0] == recorded[1]))
    return Verification(checks, contents.find_differences(golden, clone))


def _format_locale(locale: dict[str, str]) -> str:
    return " ".join(locale.get(key, "") for key in ("encoding", "datlocprovider", "datcollate")).strip()
