"""
Parse database URLs, and replace the database name in them.

Users write what their application's driver accepts: any libpq URL or key-value string, SQLAlchemy's
`postgresql+driver://`, Prisma's extra parameters. Only the database name is ever replaced, in the text as it was
written, and libpq's own parser checks every result.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import quote

from tasks_lib.errors import SettingsError

# libpq ends the credentials at the first `@`, unless a `/` comes before it, and the authority at
# the next `/` or `?` (src/interfaces/libpq/fe-connect.c, conninfo_uri_parse_options).
_URI = re.compile(
    r"(?P<scheme>postgres(?:ql)?)(?P<driver>\+\w+)?://"
    r"(?P<login>[^/@]*@)?(?P<hosts>[^/?]*)(?P<database>/[^?]*)?(?P<query>\?.*)?",
    re.DOTALL,
)

EMBEDDED = "the embedded server's URL"
"""The source of a URL that no setting contains, for errors."""

POOLER_PORTS = {"6432": "PgBouncer", "6543": "Supabase's pooler"}


@dataclass(frozen=True, repr=False)
class DatabaseUrl:
    """
    A database URL as the user wrote it.

    Its text contains the password: it is written to env files and child processes' environments, never to output.
    `str()` and `repr()` return the masked form.
    """

    text: str
    parameters: dict[str, str] = field(hash=False)
    """The parameters as libpq parses them, by its keywords; a service is replaced by the settings in its file."""
    source: str = field(default="DATABASE_URL", compare=False)
    """The setting that contains it, for errors."""

    @classmethod
    def parse(cls, text: str, *, source: str = "DATABASE_URL") -> DatabaseUrl:
        """
        Parse *text* as libpq does.

        Raises:
            SettingsError: If libpq does not accept it, or it points to a connection pooler. Never shows *text*.
        """
        from psycopg import ProgrammingError, conninfo

        if "${" in text:
            raise SettingsError(
                f"{source} contains a `${{...}}`",
                why="variables in it are not expanded",
                hint=f"write {source} in full",
            )
        try:
            parameters = {key: str(value) for key, value in conninfo.conninfo_to_dict(_for_libpq(text)).items()}
        except (ProgrammingError, UnicodeError):
            # libpq's message may quote part of the password as a port or host.
            raise _unparsable(source) from None
        if not _is_plausible(text, parameters):
            raise _unparsable(source)
        if "service" in parameters or "PGSERVICE" in os.environ:
            parameters = _with_service(parameters, source)
        url = cls(text, parameters, source)
        url._refuse_poolers()
        return url

    @property
    def database(self) -> str | None:
        """The database name in the URL, None if it has none."""
        return self.parameters.get("dbname")

    @property
    def masked(self) -> str:
        """The URL for output, without password and parameters."""
        user = quote(self.parameters.get("user", ""), safe="")
        login = f"{user}{':***' if 'password' in self.parameters else ''}@" if user else ""
        hosts = (self.parameters.get("host") or self.parameters.get("hostaddr", "")).split(",")
        ports = self.parameters.get("port", "").split(",")
        if len(ports) == 1:
            ports *= len(hosts)
        addresses = [
            (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
            for host, port in zip(hosts, ports, strict=False)
        ]
        return f"postgresql://{login}{','.join(addresses)}/{quote(self.database or '', safe='')}"

    def parameter(self, keyword: str) -> str:
        """Return what libpq uses for *keyword*: the value in the URL, in the environment, or its default."""
        from psycopg import pq

        default = next(option.val for option in pq.Conninfo.get_defaults() if option.keyword.decode() == keyword)
        return self.parameters.get(keyword) or (default or b"").decode()

    def __str__(self) -> str:
        return self.masked

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.masked!r})"

    def with_database(self, name: str) -> DatabaseUrl:
        """
        Return the same URL for the database *name*; the rest of the text is unchanged.

        Raises:
            SettingsError: If libpq then parses anything but the name differently.
        """
        from psycopg import conninfo

        match = _URI.fullmatch(self.text)
        if match is None:
            text = conninfo.make_conninfo(self.text, dbname=name)
        else:
            query = re.sub(r"(?<=[?&])dbname=[^&]*", f"dbname={quote(name, safe='')}", match["query"] or "")
            driver = match["driver"] or ""
            login = match["login"] or ""
            text = f"{match['scheme']}{driver}://{login}{match['hosts']}/{quote(name, safe='')}{query}"
        changed = DatabaseUrl.parse(text, source=self.source)
        if changed.parameters != {**self.parameters, "dbname": name}:
            raise SettingsError(
                f"the database name in {self.masked} cannot be replaced without other changes",
                hint=f"write {self.source} as postgresql://user:password@host:port/database",
            )
        return changed

    def conninfo(self, **overrides: str) -> str:
        """Return a libpq connection string with *overrides*; it contains the password."""
        from psycopg import conninfo

        return conninfo.make_conninfo("", **{**self.parameters, **overrides})

    def environment(self, **overrides: str) -> dict[str, str]:
        """
        Return the URL with *overrides* as libpq's environment variables.

        Child processes get these, because other users can read a process's arguments.

        Raises:
            SettingsError: If it contains a secret for which libpq has no variable.
        """
        from psycopg import pq

        if "sslpassword" in self.parameters:
            raise SettingsError(f"{self.source} has an `sslpassword`", why="libpq has no environment variable for it")
        parameters = {**self.parameters, **overrides}
        options = ((option.envvar, option.keyword.decode()) for option in pq.Conninfo.get_defaults())
        return {variable.decode(): parameters[key] for variable, key in options if variable and key in parameters}

    def _refuse_poolers(self) -> None:
        hosts = _hosts(self.parameters)
        poolers = [f"`{host}`" for host in hosts if "-pooler." in host or ".pooler." in host]
        # A port on this machine may be mapped to any container; `Server.require_direct` checks the connection itself.
        if any(host not in ("localhost", "127.0.0.1", "::1") and not host.startswith("/") for host in hosts):
            ports = self.parameters.get("port", "").split(",")
            poolers += [name for port, name in POOLER_PORTS.items() if port in ports]
        if "pgbouncer=true" in self.text:
            poolers.append("`pgbouncer=true`")
        if poolers:
            raise SettingsError(
                f"{self.source} goes through a connection pooler: {', '.join(poolers)}",
                why="a pooler can neither create databases nor hold locks",
                hint=f"set {self.source} to the direct URL of the server",
            )


def _for_libpq(text: str) -> str:
    """Return *text* without the parts that only SQLAlchemy or Prisma understand."""
    from psycopg import pq

    match = _URI.fullmatch(text)
    if match is None:
        return text
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"ssl"}
    query = []
    for part in (match["query"] or "?")[1:].split("&"):
        key, is_, value = part.partition("=")
        # asyncpg's `ssl` has the values of `sslmode`; libpq only knows `ssl=true`.
        key = "sslmode" if key == "ssl" and value != "true" else key
        # Keep a part without a value, so that libpq rejects it: it may be the rest of a password.
        if key in known or (part and not is_):
            query.append(key + is_ + value)
    return (
        f"{match['scheme']}://{match['login'] or ''}{match['hosts']}{match['database'] or ''}"
        + ("?" if query else "")
        + "&".join(query)
    )


def _with_service(parameters: dict[str, str], source: str) -> dict[str, str]:
    """
    Return *parameters* combined with the service file's, as libpq combines them.

    In a child process, libpq would prefer a service file's `dbname` to PGDATABASE, and use the wrong database.
    libpq shows the combined parameters only for a started connection, which need not succeed.
    """
    from psycopg import conninfo, pq

    started = pq.PGconn.connect_start(conninfo.make_conninfo("", **parameters).encode())
    try:
        known = {option.keyword.decode(): option.val.decode() for option in started.info if option.val}
        if not known:
            raise SettingsError(f"libpq cannot find the service that {source} names", why=started.get_error_message())
    finally:
        started.finish()
    known.pop("service", None)
    return known


def _hosts(parameters: dict[str, str]) -> list[str]:
    return [host for host in parameters.get("host", "").split(",") if host]


def _is_plausible(text: str, parameters: dict[str, str]) -> bool:
    """Whether no part of a password without percent-encoding was parsed as another parameter."""
    # libpq ends the login at the first `@`, or finds none if a `/` comes before; then the real `@` is left over.
    match = _URI.fullmatch(text)
    if match and (" " in text or "@" in text[match.start("hosts") :]):
        return False
    hosts = (host for host in _hosts(parameters) if not re.fullmatch(r"[/@].*|[0-9a-fA-F:.]+(%\w+)?", host))
    ports = (port for port in parameters.get("port", "").split(",") if port)
    return (
        text.isprintable()
        and not any(re.search(r"[@:%\[]", host) for host in hosts)
        and all(port.isdecimal() for port in ports)
        and ":" not in parameters.get("user", "")
        and "://" not in parameters.get("dbname", "")
    )


def _unparsable(source: str) -> SettingsError:
    return SettingsError(
        f"{source} is not a URL that libpq accepts",
        why="it is not shown because it may hold a password",
        hint="percent-encode `@ : / % #` and spaces in the password: "
        "python3 -c 'import urllib.parse as u; print(u.quote(input(), safe=\"\"))'",
    )
