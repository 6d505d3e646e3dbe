"""The tasks of `message`, run through `inv`."""

from __future__ import annotations

import json
import subprocess

from tests import inprocess


def test_messages_are_sent_and_answered(tmp_path):
    """Messages wait for the user or an agent until they are read; a reply goes to the sender."""
    (tmp_path / "tasks.py").write_text("from tasks_lib import ns\n")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message", "Start"], cwd=tmp_path, check=True)

    def inv(*arguments, text="", status=0):
        done = inprocess.inv(tmp_path, {}, "--no-dedupe", *arguments, text=text)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout or done.stderr

    def data(*arguments, **options):
        return json.loads(inv(*arguments, "--json", **options))["data"]

    assert "this worktree has no agent" in inv("message.send", "hello", status=1)
    inv("agent.register", "ann")
    sent = data("message.send", "-", "--requires-response", text="May I?\n")
    assert (sent["sender"], sent["recipient"], sent["content"], sent["type"]) == ("ann", "user", "May I?", "question")
    told = inv("message.list", "message.read", sent["id"][:8], "message.list")
    assert "ann, " in told
    assert "ago (wants a reply)\n  May I?\n" in told
    assert told.endswith("ann to user:\n  May I?\nno messages for user\n")
    assert inv("message.reply", sent["id"], "Yes") == "replied to ann\n"
    order = data("message.send", "Stop", "--to", "ann", "--as", "user")
    assert (order["sender"], order["recipient"], order["type"]) == ("user", "ann", "info")
    assert [message["content"] for message in data("message.list", "--to", "ann")] == ["Yes", "Stop"]
    read = data("message.read", sent["id"])
    assert (read["status"], [message["type"] for message in read["replies"]]) == ("responded", ["response"])
    assert "are the same" in inv("message.send", "x", "--as", "user", status=1)
