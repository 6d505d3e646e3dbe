"""
The table of settings: the one list that loading, `config.show`, `.env.example` and docs/reference/settings.md follow.
"""

from __future__ import annotations

from dataclasses import dataclass

CLONE_METHODS = ("auto", "template", "dump")

PREFIX_BYTES = 40
"""Of the 63 that PostgreSQL gives a name; the rest is for the hash and a readable part."""

OFF = "none"
"""The word that switches a command off; an empty value counts as not set."""

ENV_STYLES = {"copy": (".env",), "layered": (".env.development.local", ".env.local", ".env.development", ".env")}
"""
The env files of each style, those that win first; a linked worktree's own values stand in the first.

The order of `layered` is that of Next.js in development (https://nextjs.org/docs/app/guides/environment-variables).
"""

ENV_FIELDS = ("branch", "database", "database_url", "dev_url", "port", "session", "slug", "subdomain")
"""What `worktree.env` and `worktree.write` templates may name in braces."""

DEFAULT_ENV = {
    "PORT": "{port}",
    "DATABASE_URL": "{database_url}",
    "WORKTREE_SLUG": "{slug}",
    "WORKTREE_SUBDOMAIN": "{subdomain}",
    "WORKTREE_BRANCH": "{branch}",
}
"""Always rewritten; `worktree.env` adds keys and may replace `PORT`'s and `DATABASE_URL`'s templates."""


@dataclass(frozen=True)
class Setting:
    """
    One row of the table of settings.

    Attributes:
        name: The attribute of `Settings`.
        key: `section.key` in `invoke.yaml`, or None for what must not stand in a committed file.
        env: The environment variable, also read from the env file, or None for what is a list or a mapping.
        default: The default as people read it.
        why: One line on what it is for.
    """

    name: str
    key: str | None
    env: str | None
    default: str
    why: str


SETTINGS = (
    Setting("database_url", None, "DATABASE_URL", "the embedded server", "the PostgreSQL server and how to log in"),
    Setting("template", "db.template", "WORKTREE_TEMPLATE_DB", "<project>_latest", "the golden template"),
    Setting("prefix", "db.prefix", "WORKTREE_DB_PREFIX", "golden's name without _latest", "how clones' names begin"),
    Setting("clone_method", "db.clone_method", "WORKTREE_CLONE_METHOD", "auto", "auto, template or dump"),
    Setting("golden_max_age", "db.golden_max_age", "WORKTREE_GOLDEN_MAX_AGE", "0", "how old a clone's data may be"),
    Setting("spares", "db.spares", "WORKTREE_SPARES", "0", "clones kept ready in the background"),
    Setting("companions", "db.companions", None, "none", "further databases of every worktree"),
    Setting("migrate", "db.migrate", "WORKTREE_MIGRATE", "detected", "migrate command, a preset's name, or none"),
    Setting("generate", "db.generate", "WORKTREE_GENERATE", "detected", "generate command, a preset's name, or none"),
    Setting("generate_to", "db.generate_to", "WORKTREE_GENERATE_TO", "the preset's", "where generated code goes"),
    Setting("pull_url", None, "PULL_DATABASE_URL", "nothing", "the database that db.pull and golden.pull read"),
    Setting(
        "pull_mask", "db.pull_mask", "WORKTREE_PULL_MASK", "nothing", "an SQL file or a command that masks pulled data"
    ),
    Setting("ledger_url", None, "LEDGER_URL", "a file in .git", "a PostgreSQL database that holds the ledger"),
    Setting("root", "worktree.root", "WORKTREE_ROOT", "../<repo>-<branch>", "the directory that holds the worktrees"),
    Setting("env_style", "worktree.env_style", "WORKTREE_ENV", "copy", "copy (.env) or layered (.env.local linked)"),
    Setting("env", "worktree.env", None, "PORT, DATABASE_URL, WORKTREE_*", "keys rewritten in the env file"),
    Setting("copy", "worktree.copy", None, "seed.env", "files copied from the main worktree, where they exist"),
    Setting("link", "worktree.link", None, "nothing", "paths linked to the main worktree's, where they exist"),
    Setting("write", "worktree.write", None, "nothing", "files written from templates"),
    Setting("after_setup", "worktree.after_setup", None, "nothing", "commands run before the first migration"),
    Setting("before_remove", "worktree.before_remove", None, "nothing", "commands run before a worktree is removed"),
    Setting("keep_removed", "worktree.keep_removed", "WORKTREE_KEEP_REMOVED", "7d", "how long a removal can be undone"),
)
