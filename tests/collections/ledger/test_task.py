"""The tasks of `task`, `phase` and `initiative`."""

from __future__ import annotations

import json

import pytest
from invoke.context import Context

from tasks_lib.collections.ledger import initiative
from tasks_lib.errors import LedgerError
from tasks_lib.ledger.agents import registration
from tasks_lib.ledger.ledger import Ledger
from tasks_lib.ledger.work import queue
from tests import inprocess


@pytest.fixture
def inv(path):
    """Give a function that runs tasks: the data or the error with --json, otherwise stdout; stderr is `inv.said`."""

    def run(*arguments, text="", status=0):
        done = inprocess.inv(path, {}, *arguments, text=text)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        run.said = done.stderr
        if "--json" not in arguments:
            return done.stdout
        document = json.loads(done.stdout)
        assert document.pop("schema_version") == 1
        [found] = document.values()
        return found

    return run


@pytest.fixture
def ledger(path):
    """Give the repository's ledger, with what commands of others do to it."""
    ledger = Ledger.on_sqlite(path / ".git/goldentree/ledger.db")
    yield ledger
    ledger.engine.dispose()


def test_a_goal_from_start_to_end(inv):
    """An initiative with phases and tasks: what is ready, who holds what, what becomes ready, and what came of it."""
    web = inv("initiative.add-project", "web", "https://example.org/web", "--json")
    goal = inv("initiative.add", "Callbacks", "--branch", "feat/callbacks", "--project", "web", "--json")
    assert (goal["branch"], [project["id"] for project in goal["projects"]]) == ("feat/callbacks", [web["id"]])
    first = inv("phase.add", "Server", "--initiative", goal["id"][:6], "--content", "-", "--json", text="All of it\n")
    assert (first["content"], first["status"]) == ("All of it", "pending")
    assert "waits for  Server" in inv("phase.add", "Client", "--initiative", goal["id"], "--depends", first["id"][:8])

    api = inv("task.add", "API", "--phase", first["id"], "--priority", "high", "--description", "POST it", "--json")
    form = inv("task.add", "Form", "--depends", f"{api['id'][:8]}, ", "--json")
    assert (form["initiative_id"], form["depends_on"]) == (goal["id"], [api["id"]])
    assert "its phase `Server` is pending" in inv("task.show", api["id"])
    assert inv("phase.update", first["id"], "--status", "approved", "--json")["ready"][0]["name"] == "API"
    assert inv("task.ready", "--limit", "1").splitlines()[1:] == [f"{api['id'][:8]}  high      execute   API"]

    inv("agent.register", "ann")
    assert inv("task.claim") == f"{api['id'][:8]}  API\n\nPOST it\n"
    tree = inv("task.tree").splitlines()
    assert tree == [
        f"Callbacks  {goal['id'][:8]}  active",
        f"├ Server  {first['id'][:8]}  approved",
        f"│ └ ▶ API  {api['id'][:8]}  held by ann",
        tree[3],
        f"└ · Form  {form['id'][:8]}  waits for API",
    ]
    assert tree[3].endswith("  pending, after Server")
    done = inv("task.done", "--summary", "POST /callbacks, 201", "--claim", "--json")
    assert [task["name"] for task in done["ready"]] == ["Form"]
    assert done["claimed"]["task"]["name"] == "Form"
    assert done["claimed"]["builds_on"] == [{"id": api["id"], "name": "API", "summary": "POST /callbacks, 201"}]
    assert "Form\n\nnothing is ready: all tasks are completed\n" in inv("task.done", "--claim", status=3)

    [row] = inv("initiative.list", "--json")
    assert (row["phases"], row["tasks"], row["completed"]) == (2, 2, 2)
    assert "approved  1 of 1" in inv("phase.list", goal["id"])
    assert "completed" in inv("initiative.update", goal["id"], "--status", "completed")
    assert inv("initiative.projects", goal["id"], "--set", "", "--json") == []
    assert inv("initiative.delete", goal["id"], "--json") == {"id": goal["id"]}


def test_what_is_refused_and_given_up(inv, ledger):
    """Circles, other people's tasks and what would free others are refused; failing, blocking and retrying."""
    with ledger.write() as tx:
        ann, _ = (registration.register(tx, "r/main", name=name) for name in ("ann", "bob"))
        one, two = (tx.tasks.create(name=name) for name in ("one", "two"))
        tx.tasks.create_dependency(two.id, one.id)
        queue.claim_next(tx, ann.id)
    circle = inv("task.depends", one.id, two.id, "--json", status=1)
    assert (circle["code"], circle["why"].count(one.id)) == ("cycle", 2)
    inv("task.add", "three", "--depends", f"{one.id},nope", status=1)
    assert [task["name"] for task in inv("task.list", "--json")] == ["one", "two"]  # nothing half-made
    three = inv("task.add", "three", "--json")
    assert inv("task.depends", one.id, three["id"]) == "one waits for three\n"
    assert inv.said == "warning: `one` is in progress already, ann works on it\n"

    assert "is held by ann" in inv("task.done", one.id, "--as", "bob", "--json", status=1)["message"]
    assert inv("task.fail", one.id, "--reason", "no net", "--as", "user") == "one is pending, lost or failed 1 time\n"
    assert inv("task.claim", three["id"], "--as", "ann", "--json")["task"]["name"] == "three"
    assert inv("task.fail", "--block", "--as", "ann", "--json")["status"] == "blocked"
    assert inv("task.claim", "--as", "ann", status=3) == "nothing is ready: 2 waiting for others, 1 blocked\n"
    assert inv("task.retry", three["id"]) == "three is pending again\n"

    changed = inv("task.update", two.id, "--name", "zwei", "--order", "3", "--category", "review", "--json")
    assert (changed["name"], changed["order"], changed["category"], changed["status"]) == (
        "zwei",
        3,
        "review",
        "pending",
    )
    inv("task.delete", three["id"], status=1)
    assert "others wait for it: one" in inv.said
    assert f"ready    {one.id[:8]}  one" in inv("task.delete", three["id"], "--force")


def test_tasks_of_lost_holders_are_released(inv, ledger, path):
    """A list shows tasks whose holder is gone; the next claim frees them, and reports it on stderr."""
    with ledger.write() as tx:
        gone = registration.register(tx, "r/gone", name="gone")
        task = tx.tasks.create(name="t")
        goal = tx.initiatives.create(name="g")
        phase = tx.phases.create(name="p", initiative_id=goal.id)
        later = tx.phases.create(name="q", initiative_id=goal.id)
        tx.tasks.create(name="in it", phase_id=phase.id)
        queue.claim_next(tx, gone.id)
        registration.stop(tx, gone.id)
    [lost] = inv("task.list", "--status", "in_progress", "--json")
    assert (lost["standing"], lost["holder"]) == ("lost", None)
    inv("agent.register", "here")
    assert inv("task.claim", "--json")["released"][0]["retry_count"] == 1
    assert inv.said == f"released {task.id[:8]} t: gone is gone; it is pending, lost or failed 1 time\n"
    assert inv("phase.depends", later.id, phase.id) == "q waits for p\n"
    inv("phase.delete", phase.id, status=1)
    assert "has 1 unfinished task" in inv.said
    assert "deleted" in inv("phase.delete", phase.id, "--force")
    with ledger.read() as tx:
        assert [task.name for task in tx.tasks.find_all()] == ["t"]
        assert [phase.name for phase in tx.phases.find_all()] == ["q"]


@pytest.mark.parametrize("url", ["https://ada:secret@h/x", "https://ghp_secret@h/x", "https://[secret"])
def test_a_url_with_a_secret(url):
    """A project's URL is everybody's to read: with a password or a token in it it is refused, and not shown."""
    with pytest.raises(LedgerError) as caught:
        initiative.add_project(Context(), "web", url)
    assert "secret" not in str(caught.value)


def test_a_url_with_a_user_of_ssh():
    """`git@` is not a secret."""
    assert not any(map(initiative._has_secret, ("ssh://git@h/x", "git@h:x", "https://h/x", "../x")))
