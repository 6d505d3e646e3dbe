"""Every env file of a worktree names the worktree's own database, whatever the keys and files are called."""

from __future__ import annotations

import pytest

RUN = {"WORKTREE_MIGRATE": "touch ran"}


@pytest.fixture
def separate(repository):
    """Return the repository without DATABASE_URL: its server and database are in separate variables, as Django's."""
    from tasks_lib.databases.server.url import DatabaseUrl

    url = DatabaseUrl.parse(repository.url).parameters
    text = (repository.path / ".env").read_text().replace("DATABASE_URL=", "UNUSED=").replace(repository.url, "")
    lines = (f"DB_{key.upper()}={url[part]}\n" for key, part in [("host", "host"), ("port", "port"), ("user", "user")])
    password = f"DB_PASSWORD='{url['password']}'\n"
    (repository.path / ".env").write_text(
        text + "".join(lines) + password + f'export DB_NAME = "{url["dbname"]}"  # x\n'
    )
    return repository


def test_a_family_of_variables_leads_to_the_clone(separate):
    """The server is found without DATABASE_URL, and nothing but the name changes in the line."""
    made = separate.json("worktree.create", "a")

    lines = (separate.worktree("a") / ".env").read_text().splitlines()
    assert f'export DB_NAME = "{made["database"]}"  # x' in lines
    assert separate.env("a")["DATABASE_URL"].endswith(f"/{made['database']}")
    status = separate.json("worktree.status", "a")
    assert {variable["key"]: variable["whose"] for variable in status["variables"]} == {
        "DB_NAME": "own",
        "DATABASE_URL": "own",
    }


def test_nested_and_tracked_files_lead_to_the_clone(repository):
    """Every other byte stays, git sees no change, and the narration names each key."""
    nested = repository.path / "apps" / "web"
    nested.mkdir(parents=True)
    (nested / ".env").write_bytes(f'A=1\r\nDIRECT_URL="{repository.url}?schema=x"\r\n'.encode())
    (nested / "prod.env").write_text(f"POSTGRES_URL={repository.url}\n")
    repository.git("add", "--force", "apps/web/prod.env")
    repository.commit("Track one")
    (repository.path / ".worktreeinclude").write_text("**/.env\n")

    ran = repository.inv("worktree.create", "a")

    there = repository.worktree("a")
    url = repository.env("a")["DATABASE_URL"]
    assert (there / "apps/web/.env").read_bytes() == f'A=1\r\nDIRECT_URL="{url}?schema=x"\r\n'.encode()
    assert (there / "apps/web/prod.env").read_text() == f"POSTGRES_URL={url}\n"
    assert repository.git("status", "--porcelain", cwd=there) == ""
    assert "DIRECT_URL in apps/web/.env, POSTGRES_URL in apps/web/prod.env" in ran.stderr
    assert (nested / "prod.env").read_text() == f"POSTGRES_URL={repository.url}\n"


def test_another_worktrees_database_is_renamed(repository):
    """A file that one worktree wrote into a commit does not lead another worktree to its database."""
    other = repository.json("worktree.create", "a")["database"]
    (repository.path / "shared.env").write_text(f"STORE={other}\n")
    repository.git("add", "--force", "shared.env")
    repository.commit("Share it")

    made = repository.json("worktree.create", "b")

    assert (repository.worktree("b") / "shared.env").read_text() == f"STORE={made['database']}\n"


def test_a_shared_database_is_reported_with_its_companion(repository):
    """A test database stays as it is, and the line that gives each worktree its own is printed and works."""
    test = repository.url.rpartition("/")[0] + "/app_test"
    (repository.path / ".env.test").write_text(f"DATABASE_URL={test}\n")
    (repository.path / ".worktreeinclude").write_text(".env.test\n")
    said = repository.inv("worktree.create", "a").stderr
    line = next(line for line in said.splitlines() if "companions" in line)

    assert "`DATABASE_URL` in `.env.test` names `app_test`, a database that all worktrees share" in said
    assert (repository.worktree("a") / ".env.test").read_text() == f"DATABASE_URL={test}\n"
    (repository.path / "invoke.yaml").write_text(line.partition("invoke.yaml: ")[2])
    repository.json("worktree.create", "b")
    name = repository.json("worktree.status", "b")["companions"][0]["database"]
    assert (repository.worktree("b") / ".env.test").read_text().endswith(f"/{name}\n")
    assert repository.env("b")["TEST_DATABASE_URL"].endswith(f"/{name}")


def test_what_cannot_be_renamed_is_refused_first(repository):
    """A linked file would change the main worktree's, so nothing is created."""
    nested = repository.path / "web"
    nested.mkdir()
    (nested / ".env").write_text(f"POSTGRES_URL={repository.url}\n")
    (repository.path / "invoke.yaml").write_text("worktree: {link: [web/.env]}\n")

    said = repository.refuses("worktree.create", "a")

    assert "`POSTGRES_URL` in `web/.env` names `" in said
    assert "worktree: {copy: [web/.env]}" in said


def test_several_databases_without_a_main_one_are_refused(repository):
    """It is not guessed which of them golden is a copy of."""
    text = (repository.path / ".env").read_text()
    (repository.path / ".env").write_text(
        text.replace("DATABASE_URL=", "AUDIT_URL=") + "CORE_URL=postgresql://h/core\n"
    )

    said = repository.refuses("worktree.create", "a", "--no-db")

    assert "name several databases, and it is unclear which of them golden is a copy of" in said
    assert "CORE_URL in .env: core" in said
    assert repository.url not in said


def test_a_database_on_another_server_is_refused(repository):
    """Without DATABASE_URL the clones are on the embedded server, and the application would not use them."""
    (repository.path / "apps").mkdir()
    (repository.path / "apps/.env").write_text("SHOP_DATABASE_URL=postgresql://u:secret@127.0.0.1:1/app\n")
    (repository.path / ".worktreeinclude").write_text("apps/.env\n")
    text = (repository.path / ".env").read_text()
    (repository.path / ".env").write_text(text.replace("DATABASE_URL=", "# "))

    said = repository.inv("worktree.create", "a").stderr
    doctor = repository.inv("doctor").stdout

    assert "`SHOP_DATABASE_URL` in `apps/.env` names a server, but clones are made on the embedded one" in doctor
    assert "names `app`, the main worktree's database on another server, 127.0.0.1:1" in said
    assert "DATABASE_URL=postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in said
    assert "secret" not in said
    assert not repository.worktree("a").exists()


def test_a_tracked_file_that_names_another_server_is_refused(separate):
    """The main worktree's uncommitted change of it does not reach a branch; the printed lines cure that."""
    separate.git("add", "--force", ".env")
    separate.commit("Track it")
    committed = (separate.path / ".env").read_text()
    (separate.path / ".env").write_text(committed.replace("DB_HOST=127.0.0.1", "DB_HOST=db.example.org"))
    separate.commit("Name the team's server")
    (separate.path / ".env").write_text(committed)

    said = separate.refuses("worktree.create", "a", "--no-db")
    (separate.path / "invoke.yaml").write_text(said.rpartition("in invoke.yaml:\n")[2])
    separate.json("worktree.create", "a", "--no-db")

    assert "names `loquent_latest`, a database on another server than the main worktree's, db.example.org:" in said
    assert separate.env("a")["DB_HOST"] == "127.0.0.1"
    assert separate.env("a")["DB_NAME"] in separate.env("a")["DATABASE_URL"]


def test_a_later_change_is_refused_and_cured(repository):
    """A key that leads to golden stops db.migrate and is a problem in status and doctor; worktree.setup renames it."""
    made = repository.json("worktree.create", "a")
    there = repository.worktree("a")
    with (there / ".env").open("a") as file:
        file.write(f"POSTGRES_URL={repository.url}\n")

    said = repository.refuses("db.migrate", cwd=there, env=RUN)
    status = repository.inv("worktree.status", "a")
    doctor = repository.inv("doctor")
    listed = repository.inv("worktree.list")

    wrong = "`POSTGRES_URL` in `.env` names `loquent_latest"
    assert all(wrong in text for text in (said, status.stdout, doctor.stdout, listed.stderr))
    golden = repository.url.rpartition("/")[2]
    foreign = [{"source": ".env", "key": "POSTGRES_URL", "database": golden}]
    assert repository.json("worktree.list")[1]["foreign"] == foreign
    assert (status.returncode, doctor.returncode) == (1, 1)
    assert repository.inv("worktree.setup", cwd=there, env=RUN).returncode == 0
    assert repository.env("a")["POSTGRES_URL"].endswith(f"/{made['database']}")
    assert repository.inv("worktree.status", "a").returncode == 0


def test_an_exported_name_does_not_reach_tools(repository):
    """As direnv exports the main worktree's: tools get the clone's name, and in the worktree the shell is refused."""
    golden = repository.url.rpartition("/")[2]
    ran = {"WORKTREE_MIGRATE": 'printf "%s" "$DB_NAME" > ran', "DB_NAME": golden}

    made = repository.json("worktree.create", "a", env=ran)

    there = repository.worktree("a")
    assert (there / "ran").read_text() == made["database"]
    said = repository.refuses("db.migrate", cwd=there, env=ran)
    assert "`DB_NAME` is exported and names" in said
    assert said.endswith("hint: unset DB_NAME\n")


def test_other_configuration_is_only_reported(repository):
    """A framework's file that names golden is a remark of status and doctor, with its line."""
    golden = repository.url.rpartition("/")[2]
    (repository.path / "config").mkdir()
    (repository.path / "config/database.yml").write_text(
        f"development:\n  database: {golden}\ntest:\n  database: {golden}\n"
    )
    repository.commit("Rails")
    repository.json("worktree.create", "a")

    mention = {"place": "config/database.yml:2", "what": f"`{golden}`, the golden template"}
    assert repository.json("worktree.status", "a")["mentions"] == [mention]
    assert f"config/database.yml:2 names `{golden}`" in repository.inv("doctor").stdout
    assert golden in (repository.worktree("a") / "config/database.yml").read_text()


def test_encrypted_values_stay_and_the_exported_one_counts(repository):
    """`dotenvx run` exports the decrypted URL; without it the error says so."""
    text = (repository.path / ".env").read_text().replace(f"'{repository.url}'", "encrypted:BDqDBibm4wsY")
    (repository.path / ".env").write_text(text + "API_KEY='encrypted:AAA=='\n")

    refused = repository.inv("worktree.create", "a").stderr
    repository.json("worktree.create", "a", env={"DATABASE_URL": repository.url})

    assert "DATABASE_URL in .env is encrypted" in refused
    assert "API_KEY='encrypted:AAA=='\n" in (repository.worktree("a") / ".env").read_text()
    assert repository.env("a")["DATABASE_URL"].startswith("postgresql://")


def test_exported_words_that_are_no_databases_are_left_alone(repository):
    """A login may be the same word as golden's name; a variable about databases counts."""
    golden = repository.url.rpartition("/")[2]
    repository.json("worktree.create", "a")
    there = repository.worktree("a")

    assert repository.inv("db.migrate", cwd=there, env={**RUN, "LOGNAME": golden}).returncode == 0
    said = repository.refuses("db.migrate", cwd=there, env={**RUN, "TARGET_DB": golden})
    assert said.endswith("hint: unset TARGET_DB\n")


def test_a_file_in_another_encoding_keeps_its_bytes(repository):
    """Only the name is replaced in a file that is not UTF-8."""
    (repository.path / "web").mkdir()
    (repository.path / "web/.env").write_bytes(b"NAME=Z\xfcrich\nURL=" + repository.url.encode() + b"\n")
    (repository.path / ".worktreeinclude").write_text("web/.env\n")

    repository.json("worktree.create", "a")

    url = repository.env("a")["DATABASE_URL"].encode()
    assert (repository.worktree("a") / "web/.env").read_bytes() == b"NAME=Z\xfcrich\nURL=" + url + b"\n"


def test_a_name_that_is_made_of_parts_is_replaced_as_a_whole(repository):
    """No other variable holds the name, so the reference gives way to it."""
    server, _, golden = repository.url.rpartition("/")
    with (repository.path / ".env").open("a") as file:
        file.write(f"BASE={golden[:4]}\nDIRECT_URL={server}/${{BASE}}{golden[4:]}\nDB_NAME=${{BASE}}{golden[4:]}\n")

    made = repository.json("worktree.create", "a")

    env = repository.env("a")
    assert (env["BASE"], env["DB_NAME"]) == (golden[:4], made["database"])
    assert env["DIRECT_URL"] == env["DATABASE_URL"]
