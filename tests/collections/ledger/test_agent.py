"""The tasks of `agent`, run through `inv`, each agent a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests import inprocess

INV = [sys.executable, "-c", "import sys; from invoke.main import program; sys.argv[0] = 'inv'; program.run()"]


class Bench:
    """A repository without a database, and `inv` in it."""

    def __init__(self, path):
        self.path = path

    def start(self, *arguments, **options):
        """Start `inv` and return the process."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen([*INV, *arguments], cwd=self.path, text=True, **options)

    def inv(self, *arguments, text="", status=0):
        """Run `inv` on the input *text*, expect *status*, and return stdout and stderr."""
        done = inprocess.inv(self.path, {}, *arguments, text=text)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    def json(self, *arguments, **options):
        """Return the one document that `inv` prints, its data or error."""
        document = json.loads(self.inv(*arguments, "--json", **options)[0])
        assert document.pop("schema_version") == 1
        [found] = document.values()
        return found


@pytest.fixture
def bench(tmp_path):
    """Give a repository with two agents, ann and bob."""
    path = tmp_path / "app"
    path.mkdir()
    (path / "tasks.py").write_text("from tasks_lib import ns\n")
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Start"]):
        subprocess.run(["git", *command], cwd=path, check=True)
    bench = Bench(path)
    bench.inv("agent.register", "ann", "agent.register", "bob")
    return bench


def asking(bench, *arguments):
    """Start `agent.ask`, and return the process and the id of the conversation that it prints."""
    process = bench.start("agent.ask", *arguments, "--as", "ann")
    said = process.stderr.readline()
    assert said.startswith("asked bob, conversation "), said
    return process, said.split()[-1]


def test_a_question_and_its_answer(bench):
    """The answer alone is on stdout; who listens sees the question; a second answer is refused, showing the first."""
    listening = bench.start("agent.listen", "--as", "bob", "--json")
    process, conversation = asking(bench, "Which colour?\n-", "--agent", "bob")
    [question] = json.loads(listening.communicate(timeout=60)[0])["data"]
    assert (question["id"], question["question"]) == (conversation, "Which colour?\n-")
    assert (question["from_agent"], question["to_agent"], question["answer"]) == ("ann", "bob", None)
    stdout, _ = bench.inv("agent.listen", "--as", "bob")
    assert stdout.startswith(f"{conversation[:8]}  ann asks:\n  Which colour?\n  -\nto answer")
    assert f"inv agent.answer {conversation[:8]}" in stdout
    _, stderr = bench.inv("agent.answer", conversation, "red", "--as", "ann", status=1)
    assert "`bob` was asked, not `ann`" in stderr
    assert bench.json("agent.answer", conversation[:8], "-", text="blue\nor green\n")["status"] == "answered"
    assert process.communicate(timeout=60) == ("blue\nor green\n", "")
    assert process.returncode == 0
    _, stderr = bench.inv("agent.answer", conversation, "red", status=1)
    assert "was answered already\n  with: blue" in stderr
    assert bench.inv("agent.wait", conversation[:8])[0] == "blue\nor green\n"


def test_waiting_ends_with_a_status(bench):
    """A timeout exits with 5 and Ctrl-C with 1, both with a hint; with 4 if no agent can answer."""
    _, stderr = bench.inv("agent.ask", "-", "--agent", "bob", "--as", "ann", "--timeout", "1s", text="why?", status=5)
    conversation = stderr.split()[3]
    assert f"hint: inv agent.wait {conversation}\n" in stderr
    assert bench.json("agent.listen", "--as", "ann", "--timeout", "0", status=5)["code"] == "timed-out"
    assert (
        bench.json("agent.wait", conversation, "--timeout", "0", status=5)["hint"] == f"inv agent.wait {conversation}"
    )
    process, conversation = asking(bench, "why?", "--agent", "bob")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (1, "")
    assert stderr == f"error: interrupted\n  the question stays\nhint: inv agent.wait {conversation}\n"
    process, _ = asking(bench, "why?", "--agent", "bob")
    bench.inv("agent.stop", "bob")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "agent `bob` is stopped and has not answered" in stderr
    error = bench.json("agent.ask", "why?", "--agent", "bob", "--as", "ann", status=4)
    assert (error["code"], error["why"]) == ("no-target", "bob is stopped")


def test_an_agent_that_dies(bench):
    """`agent.list` shows an agent as lost whose process has died, and questions to it are refused."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    agent = bench.json("agent.register", "bob", "--pid", str(process.pid))
    assert agent["pid"] == process.pid
    process.communicate()
    ann, bob = bench.json("agent.list")
    assert (ann["lost"], bob["lost"], bob["status"], bob["branch"]) == (False, True, "idle", "(main worktree)")
    assert bench.inv("agent.list")[0].splitlines()[2].split()[:2] == ["bob", "lost"]
    assert "bob is lost" in bench.inv("agent.ask", "why?", "--agent", "bob", status=4)[1]
    assert "--pid must be a positive integer, not `0`" in bench.inv("agent.register", "--pid", "0", status=1)[1]


def test_log_is_stored_and_followed(bench):
    """It outlives Ctrl-C in a pipe, ends with the agent, and comes back as it was; SIGTERM ends who follows it."""
    process = bench.start("agent.log", "--as", "ann", stdin=subprocess.PIPE)
    process.stdin.write("one\n")
    process.stdin.flush()
    following = bench.start("agent.logs", "ann", "--follow")
    while following.stdout.readline() != "one\n":
        pass
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate("two", timeout=60)
    assert (process.returncode, stdout, stderr) == (0, "session 1 of ann: stored 2 pieces\n", "")
    assert following.stdout.read(3) == "two"
    following.send_signal(signal.SIGTERM)
    assert "hint: inv agent.logs ann --follow" in following.communicate(timeout=60)[1]
    assert following.returncode == 1
    assert bench.json("agent.log", "--as", "ann", text="three")["session"] == 2
    assert bench.inv("agent.logs", "ann")[0] == "one\ntwothree"
    assert [chunk["content"] for chunk in bench.json("agent.logs", "ann", "--session", "1")] == ["one\n", "two"]
    assert "cannot be combined" in bench.json("agent.logs", "ann", "--follow", status=1)["message"]


def test_a_dry_run_changes_nothing(bench):
    """`-R` says what would be done; not even a ledger is made."""
    ledger = bench.path / ".git" / "goldentree" / "ledger.db"
    ledger.unlink()
    would = "agent.ask why? --agent bob agent.answer 1234 x agent.listen agent.log agent.stop agent.register"
    stdout, _ = bench.inv("-R", *would.split())
    assert [line.split()[0] for line in stdout.splitlines()] == ["would"] * 6
    assert not ledger.exists()


def test_agents_and_their_worktrees(repository, server_url):
    """All worktrees share the ledger; with a worktree its agents are stopped, and their rows and tasks stay."""
    repository.inv("worktree.create", "a", "--no-db")
    at = repository.worktree("a")
    assert not (repository.path / ".git/goldentree/ledger.db").exists()
    repository.json("agent.register", "ann", cwd=at)
    repository.json("agent.register", "bob")
    for place in (at, repository.path):
        assert [(agent["name"], agent["branch"]) for agent in repository.json("agent.list", cwd=place)] == [
            ("ann", "a"),
            ("bob", "(main worktree)"),
        ]
    repository.inv("-R", "worktree.remove", "a")
    assert [agent["status"] for agent in repository.json("agent.list")] == ["idle", "idle"]
    asking = subprocess.Popen(
        [*INV, "agent.ask", "why?", "--agent", "ann"], cwd=repository.path, stderr=subprocess.PIPE, text=True
    )
    assert asking.stderr.readline().startswith("asked ann")
    removed = repository.inv("worktree.remove", "a")
    assert removed.returncode == 0, removed.stderr
    assert "stopped, because their worktree is gone: ann" in removed.stderr
    assert asking.wait(60) == 4
    asking.stderr.close()
    ann, bob = repository.json("agent.list", "--all")
    assert (ann["name"], ann["status"], ann["branch"], bob["status"]) == ("ann", "stopped", None, "idle")
    repository.inv("worktree.undo")
    assert repository.json("agent.list", "--all")[0]["status"] == "stopped"
    assert repository.json("agent.register", "ann", cwd=at)["id"] == ann["id"]
    # A ledger that cannot be reached does not block the removal; `worktree.gc` stops the agents later.
    down = {"LEDGER_URL": "postgresql://absent:canary@127.0.0.1:1/ledger"}
    removed = repository.inv("worktree.remove", "a", env=down)
    assert removed.returncode == 0, removed.stderr
    assert "may not be marked as stopped" in removed.stderr
    assert "inv worktree.gc --yes" in removed.stderr
    assert "canary" not in removed.stderr + removed.stdout
    assert repository.json("agent.list")[0]["status"] == "idle"
    assert "gone: ann" in repository.inv("worktree.gc", "--yes").stderr
    assert repository.json("agent.list", "--all")[0]["status"] == "stopped"
