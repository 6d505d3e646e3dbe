"""
Break one line of a safety check at a time, and run the tests that cover it. If they pass, a test is missing.

`python dev/mutants.py [WORD ...]` tries the mutants whose file or text contains a WORD, two at a time, and exits with 1
if one survives. A line is found by its text, so the list below must follow the code: a text that is not found exactly
once is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2

GUARD = (
    "tests/worktrees/env/test_guard.py",
    "tests/collections/test_db.py",
    "tests/worktrees/env/test_layered.py",
    "tests/worktrees/plans/test_create.py",
)
VARIABLES = ("tests/worktrees/steps/test_rename_databases.py", "tests/worktrees/env/test_layered.py")
COMMENT = (
    "tests/databases/ownership/test_comment.py",
    "tests/databases/ownership/test_leftovers.py",
    "tests/databases/clone/test_clone.py",
)
PROOF = ("tests/databases/ownership/test_proof.py",)
PARK = ("tests/databases/clone/test_park.py", "tests/databases/clone/test_replace.py")
CLONE = ("tests/databases/clone/test_clone.py", "tests/databases/clone/test_replace.py")
CHECKS = ("tests/worktrees/removal/test_checks.py", "tests/worktrees/plans/test_remove.py")
REMOVE = ("tests/worktrees/plans/test_remove.py", "tests/worktrees/plans/test_undo.py")
FRESHNESS = ("tests/databases/compare/test_freshness.py", "tests/databases/clone/test_snapshot.py")
DOTENV = ("tests/worktrees/env/test_dotenv_file.py",)
LOCK = ("tests/databases/ownership/test_advisory_lock.py",)
PLAN = ("tests/test_plan.py",)
ROLLBACK = ("tests/worktrees/plans/test_create.py",)
UNSEEN = ("tests/worktrees/removal/test_unseen_files.py",)
FILES = ("tests/test_file_locks.py",)
GC = ("tests/worktrees/plans/test_gc.py",)
SHARED = ("tests/databases/server/embedded/test_shared_root.py",)
ACCOUNT = ("tests/databases/server/embedded/test_untrusted_account.py",)
PROMOTE = ("tests/databases/golden/test_promote.py",)
RESTORER = ("tests/databases/copy/test_restorer.py",)
SESSION = ("tests/databases/server/test_session_settings.py",)
PREFLIGHT = ("tests/databases/clone/test_preflight.py",)
PRIVATE = ("tests/worktrees/test_private_files.py",)
TERMINAL = ("tests/test_output.py", "tests/collections/test_hostile_text.py")
BRANCH = ("tests/worktrees/test_branch_programs.py", "tests/test_programs.py")
FOREIGN = ("tests/test_foreign_files.py",)


@dataclass(frozen=True)
class Mutant:
    """A change of one text in one file below tasks_lib, and the test files that must notice it."""

    tests: tuple[str, ...]
    file: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}: {' '.join(self.old.split())!r} -> {' '.join(self.new.split())!r}"


MUTANTS = (
    Mutant(
        SESSION,
        "databases/server/session_settings.py",
        'SEARCH_PATH = "pg_catalog,pg_temp"',
        'SEARCH_PATH = "public,pg_catalog"',
    ),
    Mutant(SESSION, "databases/server/session_settings.py", '    "local_preload_libraries": "",\n', ""),
    Mutant(SESSION, "databases/compare/contents.py", '" + PLANNED_CODE + " IS NULL', "NULL IS NULL"),
    Mutant(SESSION, "databases/compare/fingerprint.py", "sql.SQL(PLANNED_CODE)", 'sql.SQL("NULL")'),
    Mutant(
        SESSION,
        "databases/compare/queries.py",
        'sql.SQL("COPY {} ({}) TO STDOUT").format(table, names)',
        "sql.SQL(\"COPY (SELECT {1} FROM {0} t WHERE t::text > '') TO STDOUT\").format(table, names)",
    ),
    Mutant(
        RESTORER,
        "databases/copy/restorer.py",
        "return replace(found, sole=strangers[0],",
        "return replace(found, sole='',",
    ),
    Mutant(RESTORER, "databases/copy/restorer.py", "r.rolname = session_user", "r.rolname = current_user"),
    Mutant(RESTORER, "databases/copy/restorer.py", "    if len(rows) > 1:", "    if False:"),
    Mutant(
        RESTORER,
        "databases/copy/restorer.py",
        '    if obstacle := scalar(source, _OBSTACLE, {"owner": rows[0][0]}):',
        "    if obstacle := False:",
    ),
    Mutant(
        RESTORER,
        "databases/copy/dump.py",
        "            if owners.strangers and chosen is None:",
        "            if False:",
    ),
    Mutant(
        RESTORER,
        "databases/ownership/drop.py",
        "        _drop_login(connection, name)\n        return False",
        "        return False",
    ),
    Mutant(
        RESTORER,
        "databases/copy/transfer.py",
        'if not statement and line.startswith(b"--"):',
        'if line.startswith(b"--"):',
    ),
    Mutant(
        PREFLIGHT,
        "databases/ownership/golden_template.py",
        "    require_primary(connection)\n    golden, may_create",
        "    golden, may_create",
    ),
    Mutant(PREFLIGHT, "databases/clone/preflight.py", "    if not golden.connectable:", "    if False:"),
    Mutant(PREFLIGHT, "databases/clone/preflight.py", "        if not golden.ours:", "        if False:"),
    Mutant(PREFLIGHT, "databases/clone/preflight.py", "    if golden.member:", "    if False:"),
    Mutant(PREFLIGHT, "databases/clone/preflight.py", "    if not unreadable:", "    if True:"),
    Mutant(
        PREFLIGHT, "databases/clone/preflight.py", "    binaries.find_clients(connection.info.server_version)\n", ""
    ),
    Mutant(
        GUARD,
        "worktrees/env/guard.py",
        "if shell.parameters != ours.parameters:",
        "if shell.database != ours.database:",
    ),
    Mutant(
        GUARD,
        "worktrees/env/guard.py",
        "with Server(url).connect() as connection:",
        "with project.server.connect() as connection:",
    ),
    Mutant(
        GUARD,
        "worktrees/env/guard.py",
        "    url = DatabaseUrl.parse(exported)\n    if url.database != record.identity.database:",
        "    url = DatabaseUrl.parse(exported)\n    if False:",
    ),
    Mutant(
        GUARD,
        "worktrees/env/guard.py",
        'source=f"DATABASE_URL in {file}")\n    if url.database != record.identity.database:',
        'source=f"DATABASE_URL in {file}")\n    if False:',
    ),
    Mutant(
        GUARD,
        "worktrees/env/guard.py",
        'if reference.key == "DATABASE_URL" and reference.source in names:',
        "if False:",
    ),
    Mutant(
        VARIABLES,
        "worktrees/env/guard.py",
        '    require_no_foreign(variables, renamed_by="inv worktree.db")\n',
        "",
    ),
    Mutant(
        VARIABLES,
        "worktrees/env/variables.py",
        'return self.whose == "foreign" and not self.kept',
        "return False",
    ),
    Mutant(
        VARIABLES,
        "worktrees/env/variables.py",
        "foreign[golden] = (GOLDEN, own)",
        "pass",
    ),
    Mutant(
        VARIABLES,
        "worktrees/env/variables.py",
        "foreign[reference.database] = (MAIN, own)",
        "pass",
    ),
    Mutant(
        VARIABLES,
        "worktrees/env/variables.py",
        'foreign[other.identity.database] = (f"the database of worktree `{other.identity.branch}`", own)',
        "pass",
    ),
    Mutant(
        VARIABLES,
        "worktrees/env/variables.py",
        "for force in (False, True):",
        "for force in (False,):",
    ),
    Mutant(
        VARIABLES,
        "worktrees/env/variables.py",
        "if len({reference.database for reference in chosen}) > 1:",
        "if False:",
    ),
    Mutant(
        VARIABLES,
        "worktrees/env/variables.py",
        "            for other in self.elsewhere\n",
        "            for other in ()\n",
    ),
    Mutant(
        VARIABLES,
        "worktrees/steps/rename_databases.py",
        "if variable.wrong and variable.reference.source in linked:",
        "if False:",
    ),
    Mutant(
        VARIABLES,
        "worktrees/steps/rename_databases.py",
        "        if overrides := _overriding_values(self.target, self.known, texts, outside):",
        "        if overrides := {}:",
    ),
    Mutant(
        VARIABLES,
        "worktrees/steps/toolchain.py",
        "    own |= replace_exported(known_databases(project, record, project.server.url), os.environ)\n",
        "",
    ),
    Mutant(
        GUARD,
        "worktrees/env/guard.py",
        "    refuse_exported_database_url(record, environ)\n",
        "",
    ),
    Mutant(
        ("tests/collections/test_db.py",),
        "worktrees/steps/toolchain.py",
        "settings.generate, settings.generate_to)",
        "settings.generate, None)",
    ),
    Mutant(
        COMMENT,
        "databases/ownership/drop.py",
        "if name in MAINTENANCE_NAMES or name == golden:",
        "if name in MAINTENANCE_NAMES:",
    ),
    Mutant(
        COMMENT,
        "databases/ownership/drop.py",
        "if name in MAINTENANCE_NAMES or name == golden:",
        "if name == golden:",
    ),
    Mutant(
        COMMENT,
        "databases/ownership/proof.py",
        "    if comment.repository != signer.repository:",
        "    if False:",
    ),
    Mutant(
        COMMENT,
        "databases/ownership/proof.py",
        "(found.comment.slug, found.comment.role) != (owner.slug, role):",
        "found.comment.role != role:",
    ),
    Mutant(
        COMMENT,
        "databases/ownership/proof.py",
        "(found.comment.slug, found.comment.role) != (owner.slug, role):",
        "found.comment.slug != owner.slug:",
    ),
    Mutant(
        PROOF,
        "databases/ownership/proof.py",
        "    signed = plain and signer.has_signed(proof, server, oid, fields)",
        "    signed = plain",
    ),
    Mutant(
        PROOF,
        "databases/ownership/proof.py",
        "    if not trusted and owner_oid != _owner_of(connection, comment.golden):",
        "    if False:",
    ),
    Mutant(
        PROOF,
        "databases/ownership/proof.py",
        "        return datetime.fromisoformat(instant).astimezone().timestamp() > now",
        "        return False",
    ),
    Mutant(
        PROOF,
        "databases/ownership/signer.py",
        'signed = {"server": server, "oid": oid, "comment": dict(fields)}',
        'signed = {"server": server, "comment": dict(fields)}',
    ),
    Mutant(
        PROOF,
        "databases/ownership/signer.py",
        'signed = {"server": server, "oid": oid, "comment": dict(fields)}',
        'signed = {"oid": oid, "comment": dict(fields)}',
    ),
    Mutant(
        PROOF,
        "databases/ownership/drop.py",
        "not (found.bare and is_owner_trusted(connection, name, golden))",
        "not found.bare",
    ),
    Mutant(
        PROOF,
        "databases/clone/spares.py",
        "comment, oid=spare.oid)",
        "comment)",
    ),
    Mutant(
        COMMENT,
        "databases/ownership/drop.py",
        '    if not re.fullmatch(rf"{TOOL}_tmp_[0-9a-f]{{16}}", name):',
        '    if not name.startswith(f"{TOOL}_tmp_"):',
    ),
    Mutant(
        COMMENT,
        "databases/ownership/drop.py",
        'isinstance(found, Proven) and found.comment.role != "temporary"',
        "False",
    ),
    Mutant(
        COMMENT,
        "databases/ownership/comment.py",
        '(fields.get("tool"), fields.get("version")) != (TOOL, _VERSION)',
        'fields.get("version") != _VERSION',
    ),
    Mutant(
        PARK,
        "databases/clone/park.py",
        "        and database.name not in golden\n",
        "",
    ),
    Mutant(
        PARK,
        "databases/clone/park.py",
        "            if name not in active:",
        "            if False:",
    ),
    Mutant(
        PARK,
        "databases/clone/park.py",
        "require_no_prepared(connection, database.name)",
        "pass",
    ),
    Mutant(
        PARK,
        "databases/clone/park.py",
        'if find_ours(connection, final, owner, "clone") is not None:',
        "if database_exists(connection, final):",
    ),
    Mutant(
        PARK,
        "databases/clone/park.py",
        "    allow_connections(connection, name, False)\n",
        "",
    ),
    Mutant(
        CLONE,
        "databases/clone/clone.py",
        "return found is not None and not found.invalid",
        "return found is not None",
    ),
    Mutant(
        CLONE,
        "databases/clone/clone.py",
        "if database == source.golden or database in MAINTENANCE_NAMES:",
        "if database in MAINTENANCE_NAMES:",
    ),
    Mutant(
        LOCK,
        "databases/ownership/advisory_lock.py",
        "moved, progress = now, found",
        "progress = found",
    ),
    Mutant(
        LOCK,
        "databases/ownership/advisory_lock.py",
        "elif holder and holder.ours and",
        "elif holder and",
    ),
    Mutant(
        LOCK,
        "databases/ownership/advisory_lock.py",
        '"SELECT pg_try_advisory_lock(%s::int8)"',
        '"SELECT pg_try_advisory_lock_shared(%s::int8)"',
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        '"-c", "core.fsmonitor=false", "status"',
        '"status"',
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        "filecmp.cmp(path, original, shallow=False)",
        "filecmp.cmp(path, original, shallow=True)",
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        '    "sequencer": "a series of cherry-picks or reverts",\n',
        "",
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        '    "MERGE_HEAD": "a merge",\n',
        "",
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        '    if git_succeeds("show-ref", "--verify", "--quiet", "refs/stash", cwd=module):\n        return False\n',
        "",
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        'if "could not open directory" in result.stderr:',
        "if False:",
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        '"--untracked-files=all"',
        '"--untracked-files=normal"',
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        '    patterns.append(f"refs/remotes/*/{branch}")\n',
        "",
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        "    if locked is not None:",
        "    if False:",
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        "    if inside is not None:",
        "    if False:",
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        "    if current.is_relative_to(path):",
        "    if current == path:",
    ),
    Mutant(
        CHECKS,
        "worktrees/removal/checks.py",
        "        require_same_worktree(project, path)\n",
        "        pass\n",
    ),
    Mutant(
        REMOVE,
        "worktrees/plans/remove.py",
        "removal.unseen = _require_nothing_lost(project, entry, worktree, force=force)",
        "removal.unseen = find_unseen_files(project, worktree, path)",
    ),
    Mutant(
        UNSEEN,
        "worktrees/plans/remove.py",
        "    if not force:\n        require_all_kept(project, entry.path, unseen)",
        "    if False:\n        require_all_kept(project, entry.path, unseen)",
    ),
    Mutant(
        REMOVE,
        "worktrees/plans/remove.py",
        "for command in project.settings.before_remove",
        "for command in ()",
    ),
    Mutant(
        REMOVE,
        "worktrees/plans/remove.py",
        "                checks.require_merged(project, str(record.branch), str(record.tip))",
        "                pass",
    ),
    Mutant(
        REMOVE,
        "worktrees/plans/remove.py",
        'run_git("update-ref", "-d", reference, str(record.tip), cwd=main)',
        'run_git("update-ref", "-d", reference, cwd=main)',
    ),
    Mutant(
        REMOVE,
        "worktrees/plans/remove.py",
        "if user := next((entry.path for entry in list_worktrees(main) if entry.branch == record.branch), None):",
        "if user := None:",
    ),
    Mutant(
        FRESHNESS,
        "databases/compare/freshness.py",
        "if golden.prepared or not before.writes or before.epoch != now.epoch:",
        "if not before.writes or before.epoch != now.epoch:",
    ),
    Mutant(
        FRESHNESS,
        "databases/compare/freshness.py",
        "if golden.prepared or not before.writes or before.epoch != now.epoch:",
        "if golden.prepared or not before.writes:",
    ),
    Mutant(
        FRESHNESS,
        "databases/compare/freshness.py",
        "    after = read_baseline(connection, golden.oid)\n",
        "    after = now\n",
    ),
    Mutant(
        FRESHNESS,
        "databases/compare/freshness.py",
        "float(cached.baseline.at) >= float(asked.at)",
        "True",
    ),
    Mutant(
        FRESHNESS,
        "databases/compare/freshness.py",
        "fingerprint.read_outside(inside, golden.oid) == cached.outside",
        "True",
    ),
    Mutant(
        FRESHNESS,
        "databases/compare/freshness.py",
        "    if busy or (after.writes",
        "    if (after.writes",
    ),
    Mutant(
        DOTENV,
        "worktrees/env/dotenv_file.py",
        "    if parse(result) != {**parse(text), **values}:",
        "    if False:",
    ),
    Mutant(
        DOTENV,
        "worktrees/env/dotenv_file.py",
        "    if path.is_symlink():",
        "    if False:",
    ),
    Mutant(
        DOTENV,
        "worktrees/env/dotenv_file.py",
        'pieces = ["\\ufeff" if text.startswith("\\ufeff") else ""]\n    for binding in bindings:',
        'pieces = [""]\n    for binding in bindings:',
    ),
    Mutant(
        DOTENV,
        "worktrees/env/dotenv_file.py",
        "for file in (like, path) if",
        "for file in (path,) if",
    ),
    Mutant(
        DOTENV,
        "worktrees/env/dotenv_file.py",
        "    if quote not in {\"'\", '\"'} and _BARE",
        "    if _BARE",
    ),
    Mutant(
        PLAN,
        "plan.py",
        "if step.undo is _nothing or (step.anchor and failures):",
        "if step.undo is _nothing:",
    ),
    Mutant(
        ROLLBACK,
        "git/cli.py",
        "start_new_session=signal.getsignal(signal.SIGINT) is signal.SIG_IGN,",
        "start_new_session=False,",
    ),
    Mutant(
        ROLLBACK,
        "worktrees/env/env_file_edit.py",
        "        dotenv_file.require_own(self.file)\n",
        "",
    ),
    Mutant(
        UNSEEN,
        "worktrees/removal/unseen_files.py",
        "    if unseen.lost:\n",
        "    if False:\n",
    ),
    Mutant(
        UNSEEN,
        "worktrees/removal/unseen_files.py",
        "folder.mkdir(mode=0o700)",
        "folder.mkdir()",
    ),
    Mutant(
        UNSEEN,
        "worktrees/removal/unseen_files.py",
        "if file.bytes is None or file.bytes > room:",
        "if file.bytes is None:",
    ),
    Mutant(
        UNSEEN,
        "worktrees/removal/unseen_files.py",
        "if is_outside or not (is_free or (overwrite and not _is_folder(file))):",
        "if is_outside:",
    ),
    Mutant(
        UNSEEN,
        "worktrees/removal/unseen_files.py",
        "if is_outside or not (is_free or (overwrite and not _is_folder(file))):",
        "if not (is_free or (overwrite and not _is_folder(file))):",
    ),
    Mutant(
        UNSEEN,
        "worktrees/removal/unseen_files.py",
        '_JOURNAL.sub("", file.name) in changed]',
        "file.name in changed]",
    ),
    Mutant(
        UNSEEN,
        "worktrees/removal/unseen_files.py",
        "return not in_output or _DATA.search(name) is not None",
        "return not in_output",
    ),
    Mutant(
        UNSEEN,
        "worktrees/removal/unseen_files.py",
        "        hide_edit(path, name, tag)\n",
        "        pass\n",
    ),
    Mutant(
        UNSEEN,
        "worktrees/removal/removal_record.py",
        "    delete_tree(kept_folder(project, removal))\n",
        "",
    ),
    Mutant(
        UNSEEN,
        "worktrees/plans/undo.py",
        "overwrite=not os.path.lexists(path))",
        "overwrite=True)",
    ),
    Mutant(
        UNSEEN,
        "git/unseen.py",
        '(tag == "S" or tag.islower())',
        'tag == "S"',
    ),
    Mutant(
        FILES,
        "files.py",
        "if found.st_uid == os.geteuid():",
        "if False:",
    ),
    Mutant(
        GC,
        "worktrees/plans/undo.py",
        "    removal_record.write(project, msgspec.structs.replace(removal, undone=True))\n",
        "",
    ),
    Mutant(
        PROMOTE,
        "databases/golden/promote.py",
        "parked.sort(key=_parked_order, reverse=True)",
        "parked.sort(key=lambda database: database.comment.parked_at, reverse=True)",
    ),
    Mutant(
        SHARED,
        "databases/server/embedded/life_lock.py",
        "if _lock(descriptor, fcntl.LOCK_EX, file):",
        "if _lock(descriptor, fcntl.LOCK_SH, file):",
    ),
    Mutant(SHARED, "databases/server/embedded/launch.py", "inherited=(lock,)", "inherited=()"),
    Mutant(
        SHARED,
        "databases/server/embedded/cluster.py",
        "return origin.same_kernel or disk.shows_locks",
        "return True",
    ),
    Mutant(
        SHARED,
        "databases/server/embedded/cluster.py",
        "return disk.local and view.sees_all_processes() and not view.find_processes(self.data)",
        "return True",
    ),
    Mutant(
        SHARED,
        "databases/server/embedded/cluster.py",
        "if elsewhere := self._find_elsewhere():",
        "if (elsewhere := self._find_elsewhere()) and not elsewhere:",
    ),
    Mutant(
        ACCOUNT,
        "databases/server/embedded/postmaster.py",
        "if owner != here.st_uid or not _runs_postgres(command):",
        "if not _runs_postgres(command):",
    ),
    Mutant(
        ACCOUNT,
        "databases/server/embedded/account.py",
        "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_RDONLY | os.O_NONBLOCK",
    ),
    Mutant(
        ACCOUNT,
        "databases/server/embedded/installation.py",
        "ended = run_as(account, command, output=subprocess.PIPE)",
        "ended = run_as(None if command is append else account, command, output=subprocess.PIPE)",
    ),
    Mutant(PRIVATE, "worktrees/env/dotenv_file.py", "mode &= stat.S_IRWXU", "pass"),
    Mutant(PRIVATE, "worktrees/steps/files.py", "_hide_secrets(path, name)\n                    made", "made"),
    Mutant(PRIVATE, "worktrees/copy_tree.py", "unfinished.touch(mode=0o600)", "unfinished.touch()"),
    Mutant(PRIVATE, "worktrees/copy_tree.py", "unfinished.mkdir(mode=0o700)", "unfinished.mkdir()"),
    Mutant(TERMINAL, "output.py", "return escape_controls(text).replace(_STYLE", "return text.replace(_STYLE"),
    Mutant(TERMINAL, "output.py", "name_program(indent_rest(text))", "name_program(text)"),
    Mutant(TERMINAL, "output.py", "[escape_line(text) for text in COLOUR.split(line)]", "COLOUR.split(line)"),
    Mutant(TERMINAL, "errors.py", "indent_rest(self.what)", "self.what"),
    Mutant(TERMINAL, "waits.py", "{indent_rest(text)}", "{text}"),
    Mutant(BRANCH, "programs.py", "if Path(folder).is_absolute()", ""),
    Mutant(BRANCH, "programs.py", "return trusted or os.defpath", "return trusted"),
    Mutant(BRANCH, "toolchains/environment.py", "worktree != main and is_brought(place)", "False"),
    Mutant(BRANCH, "toolchains/run.py", 'return "/bin/sh"', "pass"),
    Mutant(FOREIGN, "files.py", "if len(data) > LARGEST:", "if False:"),
    Mutant(FOREIGN, "files.py", "if not links_out and _leads_out(path):", "if False:"),
)


def apply(mutant: Mutant, root: Path) -> None:
    """Break the line in the copy at *root*."""
    file = root / "tasks_lib" / mutant.file
    file.write_text(file.read_text().replace(mutant.old, mutant.new))


def run_tests(tests: tuple[str, ...], root: Path) -> subprocess.CompletedProcess[str]:
    """Run *tests* in the copy at *root* until one fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        command, cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def try_mutant(mutant: Mutant) -> bool:
    """Return whether a test noticed the mutant, and say so."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        root = copy_sources(Path(directory, "copy"))
        apply(mutant, root)
        result = run_tests(mutant.tests, root)
    if result.returncode not in {0, 1}:
        sys.exit(f"pytest exited with {result.returncode} for {mutant}\n{result.stdout}{result.stderr}")
    noticed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    verdict = noticed[0].split(" - ")[0] if noticed else "SURVIVED"
    print(f"{time.monotonic() - begun:5.0f} s  {mutant}\n         {verdict}", flush=True)
    return bool(noticed)


def copy_sources(root: Path) -> Path:
    """Copy everything that tests read to *root* and return it."""
    root.mkdir()
    for name in ("tasks_lib", "tests", "bench", "docs", "dev"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, root)
    return root


def main(words: list[str]) -> int:
    """Try the mutants that *words* choose, all without any, and return the exit status."""
    texts = {mutant.file: (ROOT / "tasks_lib" / mutant.file).read_text() for mutant in MUTANTS}
    lost = [mutant for mutant in MUTANTS if texts[mutant.file].count(mutant.old) != 1]
    if lost:
        print("not found exactly once, so the list in dev/mutants.py is out of date:", *lost, sep="\n  ")
        return 1
    chosen = [mutant for mutant in MUTANTS if not words or any(word in str(mutant) for word in words)]
    if not chosen:
        print(f"no mutant contains any of: {' '.join(words)}")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        tests = tuple(dict.fromkeys(test for mutant in chosen for test in mutant.tests))
        if (unbroken := run_tests(tests, copy_sources(Path(directory, "copy")))).returncode:
            print(unbroken.stdout, "the tests fail without any mutant", sep="\n")
            return 1
    with ThreadPoolExecutor(WORKERS) as pool:
        survivors = [
            mutant for mutant, noticed in zip(chosen, pool.map(try_mutant, chosen), strict=True) if not noticed
        ]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants were noticed", *survivors, sep="\n  survived: ")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
