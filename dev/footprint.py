"""
List everything that goldentree creates, and everything that it can delete.

docs/reference/files.md and deletions.md are generated from these lists. A test compares the patterns with the files and
databases that a worktree leaves behind.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Created:
    """
    Something that goldentree creates.

    Attributes:
        where: The first cell of its row.
        what: The second cell of its row.
        patterns: `fnmatch` patterns of its paths, below `{common}` (the git common directory), `{worktree}` (a linked
            worktree) or `{beside}` (the parent of the worktrees), or of its databases' names, below `{server}`.
    """

    where: str
    what: str
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deleted:
    """Something that may be deleted, and when: the cells of its row."""

    what: str
    when: str


CREATED = (
    Created(
        "`<git common dir>/goldentree/`",
        "the registry: one JSON record per worktree and per removal that can be undone, this repository's id, "
        "lock files, names of databases under construction, golden's last fingerprint, the log of background "
        "cleanup; no passwords. In `removed/`, a folder (0700) per removal with the ignored files that it kept. "
        "Also `ledger.db` (0600), once it is used, its backups, `ledger-board.html`, and"
        " the worktree `merging` while an errand is merged",
        ("{common}/goldentree/*",),
    ),
    Created(
        "`<git common dir>/goldentree/ownership.key`",
        "the secret key that proves which databases are this repository's (0600): everyone who reads it can forge "
        "that. If it is lost, `db.sign` signs the databases again",
        ("{common}/goldentree/ownership.key",),
    ),
    Created(
        "`<git common dir>/worktrees/<id>/goldentree`",
        "the slug, so that a moved or renamed worktree is recognized",
        ("{common}/worktrees/*",),
    ),
    Created(
        "`refs/goldentree/removed/…`",
        "the last commit of a removed worktree, and its uncommitted work, until `worktree.gc` deletes the "
        "removal record",
        ("{common}/refs/*", "{common}/logs/*", "{common}/objects/*", "{common}/packed-refs"),
    ),
    Created(
        "`<git common dir>/info/exclude`",
        "the env files and the files that a worktree is given, and worktrees inside the repository, if git would not "
        "ignore them",
        ("{common}/info/exclude",),
    ),
    Created(
        "`<git common dir>/config`",
        "what a new branch tracks, if it was created from a remote's; the URLs of submodules",
        ("{common}/config",),
    ),
    Created(
        "the worktree's env files",
        "`.env`: the main worktree's with the keys of `worktree.env` rewritten; or, `layered`, "
        "`.env.development.local` with these keys, and `.env.local` as a link to the main worktree's. Files of "
        "`worktree.env_files`, with their keys rewritten. Each keeps the permissions of the main worktree's file, "
        "0600 when new",
        ("{worktree}/.env", "{worktree}/.env.local", "{worktree}/.env.development.local"),
    ),
    Created(
        "the worktree",
        "files of `worktree.copy`, `worktree.link`, `worktree.write` and `.worktreeinclude`; what your own "
        "commands write",
        ("{worktree}/*",),
    ),
    Created(
        "beside the worktree",
        "`.<directory>.<slug>-<time>`, while the files of a removed worktree are deleted",
        ("{beside}/.*",),
    ),
    Created(
        "the server",
        "the clones and companions; `…_parked_<time>`, those that were removed or replaced; "
        "`goldentree_snapshot_…` (one per golden template and repository), `goldentree_spare_…`; "
        "`goldentree_tmp_…` while a database is built, and a login role of that name while it is restored",
        ("{server}/goldentree_snapshot_*", "{server}/goldentree_spare_*", "{server}/goldentree_tmp_*"),
    ),
    Created(
        "`GOLDENTREE_HOME`",
        "the embedded server: programs, data, log, lock files, and `pg_service.conf` with its password (0600)",
    ),
    Created(
        "`.local-credentials`",
        "in the main worktree, 0600 and excluded from git: the logins of the account that `golden.build` created",
    ),
    Created(
        "`LEDGER_URL`",
        "the schema `goldentree` with the ledger's tables",
    ),
    Created(
        "Twilio",
        "a subaccount, if `seed.env` names an account to create it in and no shared one",
    ),
    Created(
        "the main worktree",
        "what `init` was asked for; it never overwrites a file",
    ),
    Created(
        "portless",
        "the route of the dev URL, if portless is installed",
    ),
)

DELETED = (
    Deleted(
        "a worktree",
        "`worktree.remove`, and a failed `worktree.create` for what it created itself; refused while work would"
        " be lost, unless `--force`, which keeps the work for `worktree.undo`; a locked worktree never",
    ),
    Deleted(
        "an ignored file",
        "with its worktree. `worktree.remove` keeps those that are neither dependencies nor build output for "
        "`worktree.undo`, and refuses if they are too large, unless `--force`",
    ),
    Deleted(
        "a branch",
        "`worktree.remove`, if it is merged (squashed or rebased, too) or pushed, or with `--force`; a ref "
        "keeps its commits for `worktree.undo`",
    ),
    Deleted(
        "a process",
        "`worktree.stop` and `worktree.remove`: one whose working directory is in the worktree, never one of "
        "goldentree's own ancestors",
    ),
    Deleted(
        "a database",
        "only one that is provably this repository's: its ownership comment has a proof that only this repository's "
        "key can make, and its owner is goldentree's own role or golden's owner; never golden, never a maintenance "
        "database. "
        "Removals park: they rename. `worktree.gc --yes` drops what was parked longer ago than "
        "`WORKTREE_KEEP_REMOVED`, and what no worktree owns and no session is connected to",
    ),
    Deleted(
        "a login role `goldentree_tmp_…`",
        "one that goldentree has created to restore a dump as golden's owner, after the restore; "
        "what a killed process left, with the database of that name",
    ),
    Deleted(
        "a snapshot, a spare",
        "this repository's own, when a newer snapshot has replaced it, or its golden template is gone",
    ),
    Deleted(
        "a removal record, its ref and the ignored files that it kept",
        "`worktree.undo`, and `worktree.gc --yes` after `WORKTREE_KEEP_REMOVED`",
    ),
    Deleted(
        "a row of the ledger",
        "`….delete`, with what it cascades to; removing a worktree only stops its agents",
    ),
    Deleted(
        "sessions in a worktree's own database",
        "when it is parked or replaced",
    ),
    Deleted(
        "idle sessions on golden",
        "with `--evict` only",
    ),
    Deleted(
        "a command that goldentree runs in a worktree, and its session",
        "when it is connected to golden, to the main worktree's or to another worktree's database",
    ),
)
