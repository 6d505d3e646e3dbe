"""Env files of a worktree: fields, further files, ports and numbers."""

from __future__ import annotations

import json
import re

INVOKE_YAML = """
worktree:
  ports: [web, api]
  env:
    DB: "{db_user} {db_host} {db_port} {db_password}"
    WORLD: "{database:world}"
  env_files:
    apps/web/.env: {API: "http://localhost:{port:api}", REDIS: "redis://localhost/{number}", WORLD: "{url:world}"}
    apps/gone/.env: {A: x}
db:
  companions:
    - {name: world, env: WORLD_URL}
"""


def test_further_env_file_gets_its_own_values(repository):
    """Other bytes are main's; a file whose folder the branch lacks is not made; a failure leaves no file behind."""
    web = repository.path / "apps/web"
    web.mkdir(parents=True)
    (web / "main.js").touch()
    repository.commit("Add a nested application")
    (web / ".env").write_bytes(
        b"# web\r\nAPI='http://localhost:3001'  # the API\r\nPULL_DATABASE_URL=s3cret\r\nSECRET=x"
    )
    (repository.path / "invoke.yaml").write_text(INVOKE_YAML)

    answer = repository.json("worktree.create", "a")

    record = next(iter(repository.records().values()))
    ports, env = record["ports"], repository.env("a")
    world = f"world_{record['identity']['slug']}"
    assert ports.keys() == {"web", "api"}
    assert (record["port"], record["number"], answer["ports"], answer["number"]) == (ports["web"], 1, ports, 1)
    assert env["PORT"] == str(ports["web"])
    user, host, port = re.search(r"//(\w+).*@(.*):(\d+)/", repository.url).groups()
    assert env["DB"].split()[:3] == [user, host, port]
    assert env["WORLD"] == world
    nested = (repository.worktree("a") / "apps/web/.env").read_bytes().decode()
    url = repository.env("a")["WORLD_URL"]
    assert nested == (
        f"# web\r\nAPI='http://localhost:{ports['api']}'  # the API\r\nPULL_DATABASE_URL=''\r\nSECRET=x\r\n"
        f"# goldentree: this worktree's own values\r\nREDIS=redis://localhost/1\r\nWORLD={url}\r\n"
    )
    assert not (repository.worktree("a") / "apps/gone").exists()


def test_number_is_the_lowest_that_is_free(repository):
    """A removal frees it; an undo restores it, or leases another one if it was taken."""

    def numbers():
        return {row["branch"]: row["number"] for row in repository.json("worktree.list") if row["slug"]}

    repository.json("worktree.create", "a", "--no-db")
    repository.json("worktree.create", "b", "--no-db")
    assert numbers() == {"a": 1, "b": 2}
    repository.json("worktree.remove", "a", "--keep-branch")
    repository.json("worktree.remove", "b", "--keep-branch")
    repository.json("worktree.undo", "b")
    assert numbers() == {"b": 2}
    repository.json("worktree.create", "c", "--no-db")
    repository.json("worktree.undo", "a")
    assert numbers() == {"a": 3, "b": 2, "c": 1}


def test_setup_leases_ports_that_were_named_later(repository):
    """The worktree keeps the port that it had as the first of them. A failure restores its record and its env file."""
    repository.json("worktree.create", "a", "--no-db")
    port = int(repository.env("a")["PORT"])
    before = repository.world()
    named = "worktree: {ports: [web, api], env: {API_PORT: '{port:api}'}"
    (repository.path / "invoke.yaml").write_text(f"{named}, after_setup: 'false'}}")
    assert repository.inv("worktree.setup", cwd=repository.worktree("a")).returncode == 1
    assert repository.world() == before
    (repository.path / "invoke.yaml").write_text(f"{named}}}")
    said = repository.refuses("worktree.env", "a", "--sync")
    assert "has no lease of some port in `worktree.ports`" in said

    said = repository.json("worktree.setup", cwd=repository.worktree("a"))

    assert said["ports"]["web"] == port
    assert repository.env("a")["API_PORT"] == str(said["ports"]["api"])


def test_doubled_lease_of_a_named_port_is_cured(repository):
    """The doctor's command frees it and leases another one; the other leases stay."""
    (repository.path / "invoke.yaml").write_text("worktree: {ports: [web, api]}")
    made = [repository.json("worktree.create", branch, "--no-db") for branch in ("a", "b")]
    file = repository.path / ".git/goldentree/worktrees" / f"{made[1]['slug']}.json"
    file.write_text(file.read_text().replace(str(made[1]["ports"]["api"]), str(made[0]["ports"]["web"])))

    findings = json.loads(repository.inv("doctor", "--json").stdout)["data"]
    finding = next(finding for finding in findings if "also leased" in finding["text"])
    assert finding["text"] == f"port {made[0]['ports']['web']} is also leased to a"
    for command in finding["cure"].split(" && "):
        repository.json(*command.split()[1:])

    ports = repository.records()[made[1]["slug"]]["ports"]
    assert ports["web"] == made[1]["ports"]["web"]
    assert len({*ports.values(), *made[0]["ports"].values()}) == 4


def test_env_sync_adds_what_main_gained(repository):
    """Keys that the worktree has stay, databases are its own, credentials of main are blank, and nothing is shown."""
    (repository.path / "apps").mkdir()
    (repository.path / "apps/.env").write_text("A=1\n")
    (repository.path / "invoke.yaml").write_text("worktree: {copy: [apps/.env]}")
    (repository.path / "apps/main.js").touch()
    repository.commit("Add an application")
    repository.json("worktree.create", "a", "--no-db")
    there = repository.worktree("a")
    kept = (there / ".env").read_text().replace("APP_HOST=https://team.ngrok.app", "APP_HOST=mine")
    (there / ".env").write_text(kept)
    with (repository.path / ".env").open("a") as main:
        main.write(f'KEY="s3cret\nsecond" # why\nDIRECT_URL={repository.url}\nLEDGER_URL=postgresql://u:s3cret@h/l\n')
    (repository.path / "apps/.env").write_text("A=2\nexport B='x y'")

    shown = repository.inv("worktree.env", "a")
    synced = repository.json("worktree.env", "--sync", cwd=there)

    assert "s3cret" not in shown.stdout + str(synced)
    assert f"add the missing keys: cd {there} && inv worktree.env --sync\n" in shown.stdout
    assert repository.url.split("@")[0] not in shown.stdout + str(synced)
    assert synced["added"] == [
        *({"file": ".env", "key": key} for key in ("LEDGER_URL", "KEY", "DIRECT_URL")),
        {"file": "apps/.env", "key": "B"},
    ]
    own = repository.env("a")["DATABASE_URL"]
    assert (there / ".env").read_text() == f"""{kept}KEY="s3cret\nsecond" # why\nDIRECT_URL={own}\nLEDGER_URL=''\n"""
    assert (there / "apps/.env").read_text() == "A=1\nexport B='x y'\n"
    states = {row["key"]: row["state"] for row in synced["values"] if row["file"] == ".env"}
    keys = ("APP_HOST", "PORT", "KEY", "DIRECT_URL")
    assert [states[key] for key in keys] == ["changed", "own", "main", "own"]
    assert repository.inv("worktree.env", "a", "--sync").stdout == "no key is missing\n"


def test_failed_setup_leaves_a_tracked_env_file_hidden(repository):
    """Its passwords would be in the next commit if git saw it as changed."""
    (repository.path / ".gitignore").write_text("seed.env\n")
    repository.commit("Track the env file")
    repository.json("worktree.create", "a", "--no-db")
    there = repository.worktree("a")
    assert repository.git("status", "--porcelain", cwd=there) == ""
    (repository.path / "invoke.yaml").write_text("worktree: {env: {MORE: '{port}'}, after_setup: 'false'}")
    assert repository.inv("worktree.setup", cwd=there).returncode == 1
    assert "MORE" not in repository.env("a")
    assert repository.git("status", "--porcelain", cwd=there) == ""
