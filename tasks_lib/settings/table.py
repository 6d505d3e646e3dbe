"""
The table of settings, in which each setting is declared.

`load`, `config.show`, `.env.example` and docs/reference/settings.md are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import SettingsError
from tasks_lib.settings import values
from tasks_lib.settings.references import is_encrypted
from tasks_lib.settings.values import DEFAULT_ENV, ENV_STYLES, Origin

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Setting:
    """
    One setting; `Settings` has a field of the same name.

    Attributes:
        key: `section.key` in `invoke.yaml`, or None for a value that must not be in a committed file.
        env: The environment variable, also read from the env file, or None for a list or mapping.
        parse: Turns the raw value into the field's; takes its origin and the name for errors.
        why: What it is for, as a noun phrase.
        default: The raw value that counts when it is not set, None if that depends on other things.
        shown: How people read the default, where *default* does not say it.
        more: Further sentences for people.
        example: A value for `.env.example`.
    """

    name: str
    key: str | None
    env: str | None
    parse: Callable[[Origin, str], Any]
    why: str
    default: Any = None
    shown: str = ""
    more: str = ""
    example: str = ""

    @property
    def default_text(self) -> str:
        """How people read the default."""
        if self.shown:
            return self.shown
        return ", ".join(self.default) if isinstance(self.default, list) else str(self.default)

    def read(self, origin: Origin) -> Any:
        """
        Return the parsed value.

        Raises:
            SettingsError: If the value cannot be parsed.
        """
        if origin.value in (None, ""):
            origin = Origin(self.default, "default")
        if isinstance(origin.value, str) and is_encrypted(origin.value):
            raise SettingsError(
                f"{self.env} in {origin.layer} is encrypted",
                why="only the program that encrypted it can read it",
                hint="let that program export the decrypted values, such as:\ndotenvx run -- inv --list",
            )
        return self.parse(origin, self.name)


SETTINGS = (
    Setting(
        "database_url", None, "DATABASE_URL", values.parse_text,
        "the PostgreSQL server and how to log in",
        shown="the embedded server",
        more="Only the database's name is ever replaced. Percent-encode `@ : / % #` in the password. Where it is not "
        "set, variables such as POSTGRES_URL, or DB_HOST and DB_NAME, name the server.",
        example="postgresql://user:password@localhost:5432/loquent_latest",
    ),
    Setting(
        "template", "db.template", "WORKTREE_TEMPLATE_DB", values.parse_text,
        "the golden template that every worktree's database is cloned from",
        shown="<project>_latest",
        example="loquent_latest",
    ),
    Setting(
        "prefix", "db.prefix", "WORKTREE_DB_PREFIX", values.parse_prefix,
        "the prefix of the clones' names",
        shown="golden's name without _latest",
        example="loquent",
    ),
    Setting(
        "clone_method", "db.clone_method", "WORKTREE_CLONE_METHOD", values.parse_choice("auto", "template", "dump"),
        "how golden is copied: auto (the fastest exact way), template (golden must be idle) or dump",
        default="auto",
        example="auto",
    ),
    Setting(
        "golden_max_age", "db.golden_max_age", "WORKTREE_GOLDEN_MAX_AGE", values.parse_duration,
        "the age up to which a snapshot is cloned without checking whether golden has changed: 90s, 15m, 2h or 1d",
        default="0",
        more="With 0, a clone always equals golden.",
        example="15m",
    ),
    Setting(
        "spares", "db.spares", "WORKTREE_SPARES", values.parse_count,
        "the number of clones to keep ready in the background",
        default="0",
        more="Each takes as much disk space as golden.",
        example="2",
    ),
    Setting(
        "companions", "db.companions", None, values.parse_companions,
        "further databases of every worktree",
        shown="none",
    ),
    Setting(
        "migrate", "db.migrate", "WORKTREE_MIGRATE", values.parse_command,
        "what migrates a clone: a command for `sh -c`, a preset (a migration tool's name, or with its folder as "
        "`prisma:packages/db`), or none",
        shown="detected",
        example="just migrate",
    ),
    Setting(
        "migrate_always", "db.migrate_always", "WORKTREE_MIGRATE_ALWAYS", values.parse_choice("true", "false"),
        "whether a clone is migrated even if its migration history has every migration of the branch",
        default="false",
        example="true",
    ),
    Setting(
        "history", "db.history", "WORKTREE_HISTORY", values.parse_history,
        "where a command in `db.migrate` records what it has applied: a preset, or a table and its files",
        shown="the preset's; for a command, the detected tool's",
        more="A command is skipped on a clone that lacks nothing only if this is set.",
        example="alembic",
    ),
    Setting(
        "generate", "db.generate", "WORKTREE_GENERATE", values.parse_command,
        "what generates code from a clone: a command for `sh -c`, a preset, or none",
        shown="the preset's",
        example="just generate",
    ),
    Setting(
        "generate_to", "db.generate_to", "WORKTREE_GENERATE_TO", values.parse_text,
        "where a preset writes generated code",
        shown="the preset's: src/bases/db/schemas for seaorm, models_generated.py for sqlacodegen",
        example="src/bases/db/schemas",
    ),
    Setting(
        "pull_url", None, "PULL_DATABASE_URL", values.parse_text,
        "the database that db.pull and golden.pull read",
        shown="nothing",
        more="It is never written to.",
        example="postgresql://reader:password@db.example.com:5432/loquent",
    ),
    Setting(
        "pull_mask", "db.pull_mask", "WORKTREE_PULL_MASK", values.parse_text,
        "what masks pulled data before anyone can connect to it: an SQL file in the main worktree or a command for "
        "`sh -c`",
        shown="nothing",
        more="Without it, pulling requires --unmasked.",
        example="scripts/mask.sql",
    ),
    Setting(
        "ledger_url", None, "LEDGER_URL", values.parse_text,
        "the PostgreSQL database that holds the ledger of a team on several machines, in a schema named goldentree",
        shown="a file in the git directory",
        example="postgresql://user:password@db.example.com:5432/ledger",
    ),
    Setting(
        "root", "worktree.root", "WORKTREE_ROOT", values.parse_text,
        "the directory for new worktrees",
        shown="beside the main worktree: ../<repo>-<branch>",
        example="../worktrees",
    ),
    Setting(
        "base", "worktree.base", "WORKTREE_BASE", values.parse_text,
        "the branch that new ones start from, and that they are compared with",
        shown="the default branch",
        more="It is taken from here or from its remote, whichever is newer.",
        example="develop",
    ),
    Setting(
        "submodules", "worktree.submodules", "WORKTREE_SUBMODULES", values.parse_choice("auto", "true", "false"),
        "which submodules a worktree gets: auto (those that the main worktree has, and new ones), true (all) or false",
        default="auto",
        example="auto",
    ),
    Setting(
        "env_style", "worktree.env_style", "WORKTREE_ENV", values.parse_choice(*ENV_STYLES),
        "which env file a worktree gets: copy (a rewritten `.env`) or layered (`.env.local` linked to the main "
        "worktree's, and its own `.env.development.local`)",
        default="copy",
        example="layered",
    ),
    Setting(
        "env", "worktree.env", None, values.parse_env_templates,
        "keys to rewrite in the env file, and their templates; these are always rewritten",
        shown=", ".join(DEFAULT_ENV),
    ),
    Setting(
        "env_files", "worktree.env_files", None, values.parse_env_file_rules,
        "keys to set in further env files, such as `apps/web/.env`, and their templates, by the file's path",
        shown="nothing",
    ),
    Setting(
        "keep_env", "worktree.keep_env", None, values.parse_kept_keys,
        "keys that stay as they are in every env file",
        shown="none",
    ),
    Setting(
        "ports", "worktree.ports", None, values.parse_names,
        "the names of a worktree's ports, each `{port:NAME}` in templates; the first is `{port}`",
        shown="one port",
    ),
    Setting(
        "copy", "worktree.copy", None, values.parse_paths,
        "files to copy from the main worktree, where they exist",
        default=["seed.env"],
    ),
    Setting(
        "link", "worktree.link", None, values.parse_paths,
        "paths to link to the main worktree's, where they exist",
        shown="nothing",
    ),
    Setting(
        "write", "worktree.write", None, values.parse_file_templates,
        "files to write, by path, from templates like those of `worktree.env`",
        shown="nothing",
    ),
    Setting(
        "after_setup", "worktree.after_setup", None, values.parse_commands,
        "commands to run before the first migration, such as `bun install`",
        shown="nothing",
    ),
    Setting(
        "before_remove", "worktree.before_remove", None, values.parse_commands,
        "commands to run before a worktree is removed",
        shown="nothing",
    ),
    Setting(
        "keep_removed", "worktree.keep_removed", "WORKTREE_KEEP_REMOVED", values.parse_duration,
        "how long a removal can be undone before `worktree.gc --yes` drops its databases",
        default="7d",
        example="7d",
    ),
    Setting(
        "keep_ignored", "worktree.keep_ignored", "WORKTREE_KEEP_IGNORED", values.parse_size,
        "how much of what git ignores a removal keeps for `worktree.undo`: 0, 500 kB, 100 MB or 2 GB",
        default="100 MB",
        more="If there is more, `worktree.remove` refuses without --force. Dependencies and build output do not count.",
        example="100 MB",
    ),
    Setting(
        "discard", "worktree.discard", None, values.parse_patterns,
        "names or paths of further ignored files that a removal deletes for good, such as `log` or `data/*.csv`",
        shown="dependencies and build output",
    ),
)  # fmt: skip
