"""
Database URLs: the one that names the server, and the same one for another database.

Users write what their application's driver takes: any libpq URL or key-value string, SQLAlchemy's
`postgresql+driver://`, Prisma's extra parameters. Only the database name is ever replaced, in the
text as it was written; libpq's own parser judges every result.
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

POOLER_PORTS = {"6432": "PgBouncer", "6543": "Supabase's pooler"}


@dataclass(frozen=True, repr=False)
class DatabaseUrl:
    """
    A database URL as the user wrote it.

    Its text holds the password: it goes into env files and children's environments, never into
    output. `str()` and `repr()` give the masked form.
    """

    text: str
    parameters: dict[str, str]
    """What libpq understood, by its keywords; instead of a service, what its file says."""
    source: str = field(default="DATABASE_URL", compare=False)
    """Where it is written, for errors."""

    @classmethod
    def parse(cls, text: str, *, source: str = "DATABASE_URL") -> DatabaseUrl:
        """
        Understand *text* as libpq does.

        Raises:
            SettingsError: If libpq does not accept it, or it names a connection pooler. Never shows *text*.
        """
        from psycopg import ProgrammingError, conninfo

        if "${" in text:
            raise SettingsError(f"{source} holds a `${{...}}` that nothing fills in", hint=f"write {source} out")
        try:
            parameters = {key: str(value) for key, value in conninfo.conninfo_to_dict(_for_libpq(text)).items()}
        except (ProgrammingError, UnicodeError):
            # libpq's message may quote what it took for a port or host: part of the password.
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
        """The database that the URL names, None where it leaves that to libpq."""
        return self.parameters.get("dbname")

    @property
    def masked(self) -> str:
        """The URL for people: no password, no parameters."""
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

    def __str__(self) -> str:
        return self.masked

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.masked!r})"

    def with_database(self, name: str) -> DatabaseUrl:
        """
        Return the same URL for the database *name*; everything else stays as it was written.

        Raises:
            SettingsError: If libpq reads anything but the name differently afterwards.
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
                f"the database name in {self.masked} cannot be replaced without changing more",
                hint=f"write {self.source} as postgresql://user:password@host:port/database",
            )
        return changed

    def conninfo(self, **overrides: str) -> str:
        """Return a libpq connection string with *overrides*; it holds the password."""
        from psycopg import conninfo

        return conninfo.make_conninfo("", **{**self.parameters, **overrides})

    def environment(self, **overrides: str) -> dict[str, str]:
        """
        Return the URL with *overrides* as libpq's environment variables, for children: an argument list is public.

        Raises:
            SettingsError: If it holds a secret for which libpq has no variable.
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
        # On this machine it may be any container's mapped port; `Server.require_direct` finds out.
        if any(host not in ("localhost", "127.0.0.1", "::1") and not host.startswith("/") for host in hosts):
            ports = self.parameters.get("port", "").split(",")
            poolers += [name for port, name in POOLER_PORTS.items() if port in ports]
        if "pgbouncer=true" in self.text:
            poolers.append("`pgbouncer=true`")
        if poolers:
            raise SettingsError(
                f"{self.source} goes through a connection pooler: {', '.join(poolers)}",
                why="databases cannot be created, nor locks held, through one",
                hint=f"set {self.source} to the direct URL of the server",
            )


def _for_libpq(text: str) -> str:
    """Return *text* without what only SQLAlchemy or Prisma understand."""
    from psycopg import pq

    match = _URI.fullmatch(text)
    if match is None:
        return text
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"ssl"}
    query = []
    for part in (match["query"] or "?")[1:].split("&"):
        key, is_, value = part.partition("=")
        # asyncpg's `ssl` takes the values of `sslmode`; libpq knows `ssl=true` alone.
        key = "sslmode" if key == "ssl" and value != "true" else key
        # What has no value stays, for libpq to refuse: it may be the rest of a password.
        if key in known or (part and not is_):
            query.append(key + is_ + value)
    return (
        f"{match['scheme']}://{match['login'] or ''}{match['hosts']}{match['database'] or ''}"
        + ("?" if query else "")
        + "&".join(query)
    )


def _with_service(parameters: dict[str, str], source: str) -> dict[str, str]:
    """
    Return *parameters* with what the service file adds, as libpq combines them.

    Children get variables, and to libpq a service file's `dbname` comes before PGDATABASE: a restore
    would go there. Only a started connection tells what libpq made of it; it is not waited for.
    """
    from psycopg import conninfo, pq

    started = pq.PGconn.connect_start(conninfo.make_conninfo("", **parameters).encode())
    try:
        known = {option.keyword.decode(): option.val.decode() for option in started.info if option.val}
        if not known:
            raise SettingsError(f"{source} names a service that libpq cannot find", why=started.get_error_message())
    finally:
        started.finish()
    known.pop("service", None)
    return known


def _hosts(parameters: dict[str, str]) -> list[str]:
    return [host for host in parameters.get("host", "").split(",") if host]


def _is_plausible(text: str, parameters: dict[str, str]) -> bool:
    """Whether no part of a password that was not percent-encoded has ended up in another parameter."""
    # libpq ends the login at the first `@`, or finds none when a `/` comes before: the true `@` is left over.
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
