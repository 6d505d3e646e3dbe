"""Database URLs: read as libpq reads them, changed in the name alone, and never shown with the password."""

from __future__ import annotations

import string
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import ServerError, SettingsError

PASSWORDS = st.text(st.sampled_from("@:/%#?&=[]{}+ ,;'\"\\\n" + string.ascii_letters + "é0"), min_size=1, max_size=12)

ACCEPTED = [
    "postgresql://",
    "postgres://localhost",
    "postgresql://u:p@localhost:5433/db",
    "postgresql://u:p%40%3A%2F%25%23@localhost/db?sslmode=require&connect_timeout=3",
    "postgresql://u@[::1]:5433/db",
    "postgresql://u@[2001:db8::1]/db?options=-c%20search_path%3Da",
    "postgresql://u:p@one:1,two:2/db?target_session_attrs=read-write",
    "postgresql://%2Fvar%2Frun%2Fpostgresql/db",
    "postgresql:///db?host=/var/run/postgresql&port=5433",
    "postgresql:///?dbname=db&user=u&password=p",
    "postgresql://u:p?x&y=z@localhost/db",
    "postgresql://u:p@localhost/d%2Fb%40%25",
    "host=/tmp user=u password='a b@:/%#' dbname=db",
    "host=localhost dbname='a db'",
    "",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_urls_are_read_as_libpq_reads_them(text):
    """Every form that libpq takes gives the same parameters as libpq's own parser."""
    assert conninfo_to_dict(text) == DatabaseUrl.parse(text).parameters


@pytest.mark.parametrize("text", ACCEPTED)
@pytest.mark.parametrize("name", ["clone_1", 'a "b"/c@d%20?é'])
def test_with_database_changes_only_the_name(text, name):
    """Another database is named, whatever the name; libpq reads everything else as before."""
    before = DatabaseUrl.parse(text)
    after = before.with_database(name)

    assert {**before.parameters, "dbname": name} == after.parameters == DatabaseUrl.parse(after.text).parameters


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (
            "postgresql+psycopg://u:p%40@h:1/db?sslmode=require",
            "postgresql+psycopg://u:p%40@h:1/new?sslmode=require",
        ),
        (
            "postgresql://u:p@h/db?schema=app&connection_limit=5&sslmode=require",
            "postgresql://u:p@h/new?schema=app&connection_limit=5&sslmode=require",
        ),
        ("postgres://h", "postgres://h/new"),
        ("postgresql:///db?dbname=other&host=/tmp", "postgresql:///new?dbname=new&host=/tmp"),
    ],
)
def test_parameters_unknown_to_libpq_are_kept(text, changed):
    """SQLAlchemy's driver and Prisma's parameters, unknown to libpq, are kept to the letter."""
    assert DatabaseUrl.parse(text).with_database("new").text == changed


@pytest.mark.parametrize(("value", "sslmode"), [("true", "require"), ("require", "require"), ("disable", "disable")])
def test_ssl_parameter_is_read_as_sslmode(value, sslmode):
    """`ssl=`, as asyncpg's users write it, is libpq's `sslmode`: a demand for TLS is not dropped."""
    assert DatabaseUrl.parse(f"postgresql+asyncpg://h/db?ssl={value}").parameters["sslmode"] == sslmode


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://u:secret@h:1/db?sslmode=require", "postgresql://u:***@h:1/db"),
        ("postgresql://u@[::1]:1/db", "postgresql://u@[::1]:1/db"),
        ("postgresql:///db?host=/tmp&password=secret&user=u", "postgresql://u:***@%2Ftmp/db"),
        ("postgresql://u:secret@a:1,b:2/db", "postgresql://u:***@a:1,b:2/db"),
        ("postgresql://u:secret@a,b:2/db", "postgresql://u:***@a,b:2/db"),
        ("host=h user='a b' password=secret", "postgresql://a%20b:***@h/"),
    ],
)
def test_masked_url_hides_the_password(text, masked):
    """For people, the password is three stars and parameters are left out; `str` and `repr` say no more."""
    url = DatabaseUrl.parse(text)

    assert url.masked == str(url) == masked
    assert repr(url) == f"DatabaseUrl('{masked}')"
    assert "secret" not in repr(Server(url))


def test_login_parameters_have_libpqs_defaults(monkeypatch):
    """A socket's host is its directory; what the URL leaves out comes from libpq's variables or its defaults."""
    monkeypatch.setenv("PGUSER", "ada")
    url = DatabaseUrl.parse("postgresql://:a%40b@%2Ftmp%2Fpg/db")
    found = {keyword: url.parameter(keyword) for keyword in ("host", "port", "user", "password")}
    assert found == {"host": "/tmp/pg", "port": "5432", "user": "ada", "password": "a@b"}
    assert DatabaseUrl.parse("postgresql:///db").parameter("host") == ""


@given(PASSWORDS)
def test_percent_encoded_password_reaches_libpq(password):
    """A percent-encoded password of any characters reaches libpq, and shows up nowhere."""
    url = DatabaseUrl.parse(f"postgresql://someone:{quote(password, safe='')}@host.example:5433/db")

    assert url.parameters["password"] == conninfo_to_dict(url.conninfo())["password"] == password
    assert url.with_database("x").parameters["password"] == url.environment()["PGPASSWORD"] == password
    assert url.masked == "postgresql://someone:***@host.example:5433/db"


@given(PASSWORDS)
@example("p@1/2?a=b")
@example("p/w")
@example("p@ss")
@example("1/2")
@example("p?dbname=x")
@example("p@h/d?sslmode=x&y")
def test_raw_passwords_are_read_or_refused(password):
    """A password that was not encoded is read as libpq does, or refused without a trace of it."""
    try:
        said = DatabaseUrl.parse(f"postgresql://someone:{password}@host.example:5433/db").masked
    except SettingsError as error:
        said = str(error)
    assert said in ("postgresql://someone:***@host.example:5433/db", REFUSAL)


REFUSAL = """\
error: DATABASE_URL is not a URL that libpq accepts
  it is not shown because it may hold a password
hint: percent-encode `@ : / % #` and spaces in the password: \
python3 -c 'import urllib.parse as u; print(u.quote(input(), safe=""))'"""


@pytest.mark.parametrize(
    "text",
    [
        "mysql://u:secret@h/db",
        "postgresql://u:secret/db",
        "postgresql://u%3Asecret@h/db",
        "postgresql://u%3Asecret%40h%2Fdb",
        "postgresql://u:secret@h/db\n",
        " postgresql://u:secret@h/db",
        "postgresql://u:secret@h/db\0",
        "postgresql://u:secret%ff@h/db",
        "postgresql://u:secret\udcff@h/db",
        "postgresql://u:secret@h:port/db",
        "postgresql:///db?password=secret&more",
        "dbname=postgresql://u:secret@h/db",
        "host=h password=top secret",
        "secret",
    ],
)
def test_invalid_url_is_refused_without_showing_it(text):
    """What libpq does not accept, or would take the password for something else in, is refused and not shown."""
    with pytest.raises(SettingsError) as caught:
        DatabaseUrl.parse(text)

    assert str(caught.value) == REFUSAL


def test_variables_in_url_are_refused():
    """`${...}` is refused: some readers of env files expand it, others do not."""
    with pytest.raises(SettingsError, match="write MAIN_URL in full"):
        DatabaseUrl.parse("postgresql://u:${PASSWORD}@h/db", source="MAIN_URL")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("postgresql://u:secret@ep-x-pooler.eu.aws.neon.tech/db", "`ep-x-pooler.eu.aws.neon.tech`"),
        ("postgresql://u:secret@aws-0.pooler.supabase.com:5432/db", "`aws-0.pooler.supabase.com`"),
        ("postgresql://u:secret@db.example:6432/db", "PgBouncer"),
        ("postgresql://u:secret@db.example:6543/db", "Supabase's pooler"),
        ("postgresql://u:secret@localhost/db?pgbouncer=true", "`pgbouncer=true`"),
    ],
)
def test_url_of_a_pooler_is_refused(text, named):
    """A URL that gives away a connection pooler is refused: neither CREATE DATABASE nor locks work through one."""
    with pytest.raises(SettingsError) as caught:
        DatabaseUrl.parse(text)

    assert f"connection pooler: {named}" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_mapped_port_is_no_pooler():
    """On this machine 6432 and 6543 are as often a container's mapped ports."""
    assert DatabaseUrl.parse("postgresql://localhost:6543/db?pgbouncer=false").database == "db"


@pytest.fixture
def service(tmp_path, monkeypatch, server_url):
    """Give the name of a service that leads to the disposable server, and to another database."""
    url = DatabaseUrl.parse(server_url).parameters
    lines = [f"{key}={url[key]}" for key in ("host", "port", "user", "password")]
    (tmp_path / "pg_service.conf").write_text("\n".join(["[app]", *lines, "dbname=template1"]))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "pg_service.conf"))
    return "app"


@pytest.mark.parametrize(
    "form", ["postgresql:///other?service={}", "service={} dbname=other", "postgresql://?service={}"]
)
def test_a_service_is_resolved(service, server_url, form):
    """What the service file says counts as if it stood in the URL, so no child needs, or obeys, the file."""
    url = DatabaseUrl.parse(form.format(service))
    direct = DatabaseUrl.parse(server_url)

    assert url.database == ("other" if "other" in form else "template1")
    assert url.masked == direct.with_database(url.database).masked
    assert url.environment()["PGPASSWORD"] == direct.parameters["password"]
    assert url.with_database("clone").environment()["PGDATABASE"] == "clone"
    assert "PGSERVICE" not in url.environment()
    with psycopg.connect(url.conninfo(dbname="postgres")) as connection:
        assert connection.info.dbname == "postgres"


def test_an_exported_service_is_resolved(service, monkeypatch):
    """PGSERVICE in the environment fills what the URL leaves open, as in libpq, and for children too."""
    monkeypatch.setenv("PGSERVICE", service)
    url = DatabaseUrl.parse("postgresql:///mine")

    assert (url.database, url.parameters["user"]) == ("mine", "goldentree")


def test_unknown_service_is_named_in_error(service):
    """A service that the file does not name is an error that names it."""
    with pytest.raises(SettingsError, match='definition of service "nope" not found'):
        DatabaseUrl.parse("postgresql:///?service=nope")


def test_sslpassword_in_the_url_is_refused():
    """Libpq has no variable for `sslpassword`: an error, not a child that waits for it at the terminal."""
    with pytest.raises(SettingsError, match="no environment variable"):
        DatabaseUrl.parse("postgresql://h/db?sslpassword=x").environment()


def test_url_of_stopped_server_is_valid(service):
    """A service's server that is down is the connection's error; the URL as such is fine."""
    url = DatabaseUrl.parse("postgresql://127.0.0.1:1/x?service=app")
    with pytest.raises(ServerError), Server(url).connect():
        pass
