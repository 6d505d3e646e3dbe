"""Variables that name a database: found in every spelling that applications read, and renamed alone."""

from __future__ import annotations

import pytest

from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.settings.references import derive_url, find_references, replace_database, resolve

URLS = [
    "postgres://u:p@h:5/app?x=1",
    "postgresql+asyncpg://u:p%40w@h/app",
    "postgresql://u:p@h/app#fragment",
    "postgis://u:p@h/app",
    "ecto://u:p@h/app",
    "jdbc:postgresql://h:5432/app?user=u",
    "jdbc:p6spy:postgresql://h/app",
    "jdbc:postgresql:app",
    "r2dbc:postgresql://h/app",
    "db+postgresql://u:p@h/app",
    "host=h dbname=app user=u",
    "host=h dbname='app'",
    "Host=h;Database=app;Username=u",
    "postgresql:///app?host=/run/postgresql",
    "postgresql://h?dbname=app",
]


def names(values, known=()):
    """Return key and database of each reference."""
    return {found.key: found.database for found in find_references(resolve(values, {}), ".env", known)}


@pytest.mark.parametrize("url", URLS)
def test_a_url_of_any_spelling_is_found_and_renamed(url):
    """Only the name changes, whatever the key is called."""
    (found,) = find_references({"ANYTHING": url}, ".env")
    renamed = replace_database(url, found, "clone_1")

    assert names({"ANYTHING": url}) == {"ANYTHING": "app"}
    assert names({"ANYTHING": renamed}) == {"ANYTHING": "clone_1"}
    assert renamed.replace("clone_1", "app") == url


@pytest.mark.parametrize(
    "values",
    [
        {"PGDATABASE": "app", "PGHOST": "h"},
        {"POSTGRES_DB": "app", "POSTGRES_SERVER": "h"},
        {"POSTGRES_DATABASE": "app", "POSTGRES_HOST": "h"},
        {"DB_NAME": "app", "DB_HOST": "h"},
        {"DB_DATABASE": "app", "DB_HOST": "h", "DB_CONNECTION": "pgsql"},
        {"DB_DATABASE_NAME": "app", "DB_HOSTNAME": "h"},
        {"DATABASE_NAME": "app", "DATABASE_HOST": "h"},
        {"LOQUENT_DB_NAME": "app", "LOQUENT_DB_HOST": "h"},
        {"MYAPP_DATABASE": "app", "MYAPP_DATABASE_HOST": "h"},
        {"db_name": "app", "db_host": "h"},
    ],
)
def test_a_family_of_variables_is_found_with_its_host(values):
    """The name is a reference of its own, and the host beside it says where."""
    (found,) = find_references(resolve(values, {}), ".env")

    assert (found.key, found.database, found.host) == (next(iter(values)), "app", "h")


@pytest.mark.parametrize(
    "values",
    [
        {"DB_CONNECTION": "mysql", "DB_DATABASE": "app", "DB_HOST": "h"},
        {"DB_ENGINE": "django.db.backends.sqlite3", "DB_NAME": "app"},
        {"MYSQL_DATABASE": "app"},
        {"DB": "postgres", "DB_HOST": "h"},
        {"REDIS_DB": "0", "DATABASE": "0"},
        {"DATABASE_URL": "sqlite:///app.db"},
        {"DATABASE_URL": "encrypted:BDqDBibm4wsYqMpCjTQ6BsDH"},
        {"DATABASE_URL": "ENC[AES256_GCM,data:CwE4O1s=]"},
        {"DATABASE_URL": "postgresql://u:p@h"},
    ],
)
def test_other_engines_and_encrypted_values_are_left_out(values):
    """They name no PostgreSQL database that could be renamed."""
    assert names(values) == {}


def test_a_known_name_is_found_under_any_key():
    """But not where a login, a host or the project has the same name."""
    values = {"SOME_STORE": "app", "DB_USER": "app", "POSTGRES_PASSWORD": "app", "PGHOST": "app", "APP_NAME": "app"}
    values |= {"UPLOAD_BUCKET": "app", "UPLOAD_ACCESS_KEY_ID": "app"}

    assert names(values, {"app"}) == {"SOME_STORE": "app"}
    assert names(values) == {}


def test_variables_in_variables_are_filled_in():
    """As the application sees them; a name that another variable holds is renamed there, or by force."""
    values = {"DB_NAME": "app", "A": "postgresql://u:p@h/${DB_NAME}?s=1", "B": "postgresql://u:p@h/$DB_NAME"}

    assert names(values) == {"DB_NAME": "app", "A": "app", "B": "app"}
    _, found, _ = find_references(resolve(values, {}), ".env")
    assert replace_database(values["A"], found, "clone") == values["A"]
    assert replace_database(values["A"], found, "clone", force=True) == "postgresql://u:p@h/clone?s=1"
    assert names({"A": values["A"]}) == {}


def test_plain_keys_are_told_from_those_of_other_databases():
    """`AUDIT_DB_NAME` and a shadow database are not the application's main one."""
    url = "postgresql://h/app"
    keys = ["DATABASE_URL", "POSTGRES_PRISMA_URL", "POSTGRES_URL_NON_POOLING", "DIRECT_URL", "SPRING_DATASOURCE_URL"]
    others = ["SHADOW_DATABASE_URL", "TEST_DATABASE_URL", "AUDIT_URL", "REPLICA_DATABASE_URL"]

    found = find_references(dict.fromkeys([*keys, *others], url), ".env")

    assert [reference.key for reference in found if reference.plain] == keys
    assert not any(reference.plain for reference in find_references({"DATABASE_URL": url}, ".env.test"))


def test_separate_variables_give_the_url_of_the_server():
    """A password with any character arrives as it is; without a host no server is named."""
    family = {
        "DB_NAME": "app",
        "DB_HOST": "127.0.0.1",
        "DB_PORT": "5499",
        "DB_USERNAME": "ada",
        "DB_PASSWORD": "a@:/%b",
    }

    text, key = derive_url(family)

    wanted = {"dbname": "app", "host": "127.0.0.1", "port": "5499", "user": "ada", "password": "a@:/%b"}
    assert (DatabaseUrl.parse(text).parameters, key) == (wanted, "DB_NAME")
    assert derive_url({"POSTGRES_DB": "app", "POSTGRES_PASSWORD": "x"}) is None
    assert derive_url({"TEST_DATABASE_URL": "postgresql://h/app"}) is None
    url = "postgres://u@h:5/app"
    prefixed = {"NEXT_PRIVATE_DATABASE_URL": url, "NEXT_PRIVATE_DIRECT_DATABASE_URL": url}
    assert derive_url(prefixed) == (url, "NEXT_PRIVATE_DATABASE_URL")
    assert derive_url({**prefixed, "AUDIT_DATABASE_URL": "postgres://h/audit"}) is None
    spring = {"SPRING_DATASOURCE_URL": "jdbc:postgresql://h:5/app", "SPRING_DATASOURCE_USERNAME": "ada"}
    assert derive_url(spring) == ("postgresql://ada@h:5/app", "SPRING_DATASOURCE_URL")


def test_urls_inside_of_other_text_are_found_by_a_known_name():
    """A list of replicas is renamed as a whole, and a longer name is left alone."""
    values = {"REPLICAS": "postgres://a/app,postgres://b:5/app?x=1", "LONGER": '{"url": "postgres://h/app_2"}'}
    values["REPOSITORY"] = "https://example.com/acme/app"

    (found,) = find_references(values, ".env", {"app"})

    assert replace_database(values["REPLICAS"], found, "c") == "postgres://a/c,postgres://b:5/c?x=1"


def test_a_dollar_sign_in_a_password_stays():
    """Only the names of known variables are filled in."""
    values = {"DB_HOST": "h", "DB_NAME": "app", "DB_PASSWORD": "pa$word"}

    assert derive_url(resolve(values, {}))[0] == "postgresql://:pa%24word@h/app"
