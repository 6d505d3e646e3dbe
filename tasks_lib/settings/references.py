"""
Find the variables that name a PostgreSQL database, as an application resolves them, and rename the database in them.

An application takes its database from a URL under any key, from a family of variables (`DB_HOST`, `DB_NAME`, ...), or
from a variable that only it knows. The first two are recognised by their form, the last by its value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Mapping

# Django's and Ecto's own schemes, JDBC and R2DBC with their wrappers (`jdbc:p6spy:postgresql:`), SQLAlchemy's drivers,
# Celery's `db+postgresql:`.
# The authority may be missing: `jdbc:postgresql:app`.
_URL = re.compile(
    r"""
    \s* (?: (?P<wrapper> (?: jdbc | r2dbc ) : (?: \w+ : )*? ) | db\+ )?
    (?: postgres(?:ql)? | postgis | timescale(?:db|gis)? | pgsql | psql | ecto | cockroach(?:db)? ) (?: \+\w+ )? :
    (?: // (?: (?P<login> [^/]* ) @ )? (?P<hosts> [^/?\#@]* ) (?: / | (?= [?\#] | \s*\Z ) ) | (?! // ) )
    (?P<database> [^?\#\s,;/]* )
    (?P<rest> (?: [?\#] \S* )? ) \s*
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_SCHEME = re.compile(r"(?:postgres(?:ql)?|postgis|timescale\w*|pgsql|psql|ecto|cockroach\w*)(?:\+\w+)?:", re.IGNORECASE)
_DBNAME_PARAMETER = re.compile(r"(?<=[?&])dbname=(?P<database>[^&\#\s]*)")

# libpq's `host=... dbname=app`, and .NET's `Host=...;Database=app`.
_DSN = re.compile(r"(?:^|\s)dbname\s*=\s*(?P<quote>'?)(?P<database>[^'\s]+)(?P=quote)")
_ADO = re.compile(r"(?:^|;)\s*(?:Database|Initial\ Catalog)\s*=\s*(?P<database>[^;]+?)\s*(?=;|$)", re.IGNORECASE)

_FAMILY = re.compile(
    r"(?P<family>(?:[A-Z0-9]+_)*?(?:PG|POSTGRES|POSTGRESQL|PSQL|SQL|RDS|DB|DATABASE|DATASOURCE))"
    r"_?(?P<suffix>DATABASE_NAME|DB_NAME|DBNAME|DATABASE|DB|NAME)"
    r"|(?P<whole>(?:[A-Z0-9]+_)*(?:DATABASE|DBNAME|DB))"
)
_HOST = ("HOST", "SERVER", "HOSTNAME", "HOSTADDR", "ADDRESS", "ADDR", "ENDPOINT")
_PORT = ("PORT",)
_USER = ("USER", "USERNAME", "LOGIN")
_PASSWORD = ("PASSWORD", "PASS", "PWD", "PASSWD")
_ENGINE = ("ENGINE", "CONNECTION", "TYPE", "DIALECT", "DRIVER", "ADAPTER", "CLIENT")
_OTHER_ENGINE = re.compile(
    r"mysql|maria|sqlite|mongo|mssql|sqlserver|oracle|redis|influx|clickhouse|neo4j|snowflake|cassandra|couch|dynamo"
    r"|elastic|vector|maxmind|geoip",
    re.IGNORECASE,
)
# Often the same word as the database's name, and yet not its name.
_NO_DATABASE = re.compile(
    r"(?:^|_|^PG)(?:USER|USERNAME|LOGIN|ROLE|OWNER|PASSWORD|PASS|PWD|PASSWD|HOST|HOSTNAME|SERVER|DOMAIN|BUCKET|IMAGE|ORG|SCHEMA|ENV"
    r"|ID|KEY|SECRET|TOKEN|PREFIX|NAMESPACE|QUEUE|TOPIC|CHANNEL|INDEX|REALM|TENANT|AUDIENCE|ISSUER|SENDER|THEME)$"
    r"|^(?:COMPOSE_)?(?:APP|APPLICATION|PROJECT|STACK|SERVICE|SITE|PACKAGE)(?:_NAME)?$|^WORKTREE_",
    re.IGNORECASE,
)
_PLAIN_WORDS = frozenset(
    [
        "ASYNC",
        "CONN",
        "CONNECTION",
        "CONNECTIONSTRINGS",
        "DATABASE",
        "DATASOURCE",
        "DB",
        "DBNAME",
        "DEFAULT",
        "DEFAULTCONNECTION",
        "DIRECT",
        "DSN",
        "JDBC",
        "MAIN",
        "NAME",
        "NO",
        "NON",
        "PG",
        "PGDATABASE",
        "POOLED",
        "POOLING",
        "POSTGRES",
        "POSTGRESQL",
        "PRIMARY",
        "PRISMA",
        "PSQL",
        "R2DBC",
        "SPRING",
        "SQLALCHEMY",
        "SSL",
        "STRING",
        "SYNC",
        "UNPOOLED",
        "URI",
        "URL",
        "VERCEL",
        "WRITER",
    ]
)
_ENGINES = frozenset(
    {"pg", "pgsql", "postgres", "postgresql", "psql", "postgis", "mysql", "sqlite", "sqlite3", "mongodb"}
)
"""Values of `DB` and `DB_TYPE` that name a kind of server."""
_FOR_TESTS = re.compile(r"(?:^|[._])(?:test|tests|testing|shadow|ci|e2e)(?:[._]|$)", re.IGNORECASE)

_ENCRYPTED = re.compile(r"encrypted:|ENC\[")
"""How dotenvx and sops begin an encrypted value."""


@dataclass(frozen=True)
class Reference:
    """
    A variable that names a database.

    Attributes:
        source: The env file, relative to its worktree, or `environment`.
        key: The variable that contains the name.
        database: The name, as the application resolves it.
        host, port: Of the server, as the application resolves them; empty where they are not named.
        form: `url`, `family`, `value` for a variable that is known by its value only, or `text` for one that has URLs
            in it.
        user, password: The login that goes with it, empty where it is not named.
        family: The other variables that the name completes, `host`, `port`, `user` and `password`, each with its key.
    """

    source: str
    key: str
    database: str
    host: str = ""
    port: str = ""
    form: str = "url"
    user: str = ""
    password: str = ""
    family: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Reference({self.source!r}, {self.key!r}, {self.database!r}, {self.host!r}, {self.port!r})"

    @property
    def for_tests(self) -> bool:
        """Whether its key or its file says that it is a test or shadow database."""
        return bool(_FOR_TESTS.search(self.key) or _FOR_TESTS.search(self.source))

    @property
    def plain(self) -> bool:
        """Whether the key names the application's main database: `DB_NAME`, but not `AUDIT_DB_NAME`."""
        return not self.for_tests and self.has_plain_key

    @property
    def has_plain_key(self) -> bool:
        """Whether the key has no word that says which database it is."""
        return set(self.key.upper().split("_")) <= _PLAIN_WORDS


def find_references(values: Mapping[str, str], source: str, names: Collection[str] = ()) -> list[Reference]:
    """
    Return each variable of *values* that names a database, in their order.

    Args:
        values: Variables as the application resolves them, see `resolve`.
        source: Where they are from.
        names: Databases that are known by name, whatever their variable is called.
    """
    return [found for key, value in values.items() if (found := _reference(key, value, values, source, names))]


def replace_database(raw: str, reference: Reference, name: str, *, force: bool = False) -> str:
    """
    Return *raw*, the value of *reference* as it is written in a file, for the database *name*; the rest stays.

    Args:
        force: Also replace a name that another variable fills in (`.../${DB_NAME}`). Otherwise it stays, because that
            variable is renamed.
    """
    for start, end, quoted in reversed(_spans(raw, reference)):
        if force or "$" not in raw[start:end]:
            raw = raw[:start] + (quote(name, safe="") if quoted else name) + raw[end:]
    return raw


def resolve(values: Mapping[str, str | None], environ: Mapping[str, str]) -> dict[str, str]:
    """
    Return the variables of an env file with each `${X}` filled in.

    As dotenv libraries do, a variable of *environ* is preferred to one of the file. An encrypted value is left out.
    """
    from dotenv.variables import parse_variables

    known: dict[str, str | None] = {**values, **environ}
    resolved = {}
    for key, value in values.items():
        if value is not None and not _ENCRYPTED.match(value):
            resolved[key] = "".join(atom.resolve(known) for atom in parse_variables(_braced(value, known)))
            known[key] = environ.get(key, resolved[key])
    return resolved


def is_encrypted(value: str | None) -> bool:
    """Whether dotenvx or sops has encrypted *value*."""
    return bool(value and _ENCRYPTED.match(value))


def derive_url(values: Mapping[str, str]) -> tuple[str, str] | None:
    """
    Return the URL of the application's main database and the key that it comes from, None if none names a server.

    Args:
        values: The resolved variables of one env file without DATABASE_URL.
    """
    named = [reference for reference in find_references(values, "") if reference.host and not reference.for_tests]
    chosen = [reference for reference in named if reference.plain]
    if not chosen and len({(reference.host, reference.port, reference.database) for reference in named}) == 1:
        chosen = named  # `NEXT_PRIVATE_DATABASE_URL` and nothing else
    for reference in chosen:
        text = values[reference.key].strip()
        if reference.form == "url" and text.lower().startswith("postgres"):
            return text, reference.key
        login = quote(reference.user, safe="") + (
            f":{quote(reference.password, safe='')}" if reference.password else ""
        )
        host = f"[{reference.host}]" if ":" in reference.host else quote(reference.host, safe="")
        address = f"{login}@{host}" if login else host
        port = f":{reference.port}" if reference.port else ""
        return f"postgresql://{address}{port}/{quote(reference.database, safe='')}", reference.key
    return None


def _braced(value: str, known: Container[str]) -> str:
    """Write a *known* `$X` as `${X}`, as dotenv-expand and compose read it; a password may contain a `$`."""
    return re.sub(
        r"(?<!\\)\$([A-Za-z_]\w*)", lambda found: f"${{{found[1]}}}" if found[1] in known else found[0], value
    )


def _spans(raw: str, reference: Reference) -> list[tuple[int, int, bool]]:
    """Return where *raw* names the database: start, end, and whether it is percent-encoded there."""
    if reference.form == "text":
        return [(*match.span(), False) for match in _segment(reference.database).finditer(raw)]
    if reference.form != "url":
        return [(0, len(raw), False)]
    if match := _URL.fullmatch(raw):
        found = [(*match.span("database"), True)] if match["database"] else []
        parameter = _DBNAME_PARAMETER.search(raw, match.end("database"))
        return found + ([(*parameter.span("database"), True)] if parameter else [])
    matches = (pattern.search(raw) for pattern in (_DSN, _ADO))
    return [(*match.span("database"), False) for match in matches if match]


def _reference(
    key: str, value: str, values: Mapping[str, str], source: str, names: Collection[str]
) -> Reference | None:
    if _OTHER_ENGINE.search(key):
        return None
    if match := _URL.fullmatch(value):
        pairs = (part.partition("=")[::2] for part in match["rest"].partition("#")[0].lstrip("?").split("&"))
        query = {name: unquote(text) for name, text in pairs}
        host, port = _split_host(match["hosts"] or "")
        user, _, password = (match["login"] or "").partition(":")
        if match["wrapper"]:  # JDBC takes the login from the query, or from variables beside the URL
            prefix = key.upper().removesuffix("_URL").removesuffix("_URI")
            user = user or query.get("user", "") or _sibling(values, [prefix], _USER)
            password = password or query.get("password", "") or _sibling(values, [prefix], _PASSWORD)
        database = query.get("dbname") or unquote(match["database"])
        if not database:
            return None
        return Reference(
            source,
            key,
            database,
            query.get("host", host),
            query.get("port", port),
            "url",
            unquote(user),
            unquote(password),
        )
    for pattern in (_DSN, _ADO):
        if match := pattern.search(value):
            words = {word.lower(): text for word, text in re.findall(r"(\w+)\s*=\s*'?([^';\s]+)", value)}
            host = words.get("host") or words.get("server") or ""
            user = words.get("user") or words.get("username") or ""
            return Reference(
                source, key, match["database"], host, words.get("port", ""), "url", user, words.get("password", "")
            )
    return _family(key, value, values, source) or _known(key, value, source, names)


def _known(key: str, value: str, source: str, names: Collection[str]) -> Reference | None:
    if value in names and not _NO_DATABASE.search(key) and value.lower() not in _ENGINES:
        return Reference(source, key, value, form="value")
    if _SCHEME.search(value):  # a list of URLs, or one inside of other text
        found = next((name for name in names if _segment(name).search(value)), None)
        return Reference(source, key, found, form="text") if found else None
    return None


def _segment(name: str) -> re.Pattern[str]:
    """Match *name* as the path of a URL."""
    return re.compile(rf"(?<=[\w\])]/){re.escape(name)}(?![\w./-])")


def _family(key: str, value: str, values: Mapping[str, str], source: str) -> Reference | None:
    match = _FAMILY.fullmatch(key.upper())
    if match is None or not value or value.isdecimal() or value.lower() in _ENGINES or re.search(r"[\s/:\\]", value):
        return None
    family = match["family"] or match["whole"]
    prefixes = [family, family.removesuffix("_DATABASE").removesuffix("_DB")]
    if _OTHER_ENGINE.search(_sibling(values, prefixes, _ENGINE)):
        return None
    parts = {"host": _HOST, "port": _PORT, "user": _USER, "password": _PASSWORD}
    keys = {part: found for part, names in parts.items() if (found := _sibling_key(values, prefixes, names))}
    if match["whole"] and "host" not in keys:
        return None  # `DATABASE=x` alone may be anything; it is still known by its value
    siblings = {part: values[sibling] for part, sibling in keys.items()}
    return Reference(source, key, value, form="family", family=tuple(keys.items()), **siblings)


def _sibling(values: Mapping[str, str], prefixes: Collection[str], suffixes: Collection[str]) -> str:
    key = _sibling_key(values, prefixes, suffixes)
    return values[key] if key else ""


def _sibling_key(values: Mapping[str, str], prefixes: Collection[str], suffixes: Collection[str]) -> str | None:
    upper = {key.upper(): key for key in values if values[key]}
    names = (f"{prefix}{joint}{suffix}" for prefix in prefixes for suffix in suffixes for joint in ("_", ""))
    return next((upper[name] for name in names if name in upper), None)


def _split_host(hosts: str) -> tuple[str, str]:
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?", hosts.split(",", maxsplit=1)[0])
    return (unquote(match[1].strip("[]")), match[2] or "") if match else (hosts, "")
