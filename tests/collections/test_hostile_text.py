"""Text of other agents, branches and rows, on its way to a terminal and into a pipe."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing

import pytest

from tasks_lib.escaping import escape_controls
from tasks_lib.ledger.ledger import Ledger
from tests import inprocess

HOSTILE = (
    "evil \x1b]52;c;eA==\x07\x1b[2J\x1b[8mhidden\x1bP0q\x1b\\ \x1b]8;;file:///x\x1b\\ \x9b2J \x08 \r \u202e\u200b \x7f"
)
"""Writes the clipboard, clears, hides, draws, links, moves, and turns the direction around."""

FORGED = "\n✓ forged"
"""What a text of several lines would add to ours."""

OWN_STYLES = re.compile(r"\x1b\[(?:0|1|2|3[1236])?m")

FREE = {"description", "summary", "content", "question", "answer", "body"}
LINES = {"name", "title", "branch", "url", "email", "author", "file_path", "agent_name", "host", "base_branch"}
"""Columns of free text, and columns of one line, which another program may have written nevertheless."""

SHOWS = (
    "account.list",
    "agent.list",
    "agent.listen --as AGENT --timeout 1",
    "agent.logs AGENT",
    "agent.wait CONVERSATION --timeout 0",
    "chat.list",
    "chat.show CHAT",
    "errand.list",
    "initiative.list",
    "initiative.projects",
    "ledger.status",
    "message.list",
    "message.read MESSAGE",
    "page.list INITIATIVE",
    "page.show PAGE",
    "phase.list INITIATIVE",
    "proposal.list",
    "review.list PHASE",
    "task.claim --as AGENT",
    "task.list",
    "task.show TASK",
    "task.tree",
    "task.update TASK --priority low",
    "task.show HOSTILE",
    "page.list HOSTILE",
)
FREE_TEXTS = {"agent.logs AGENT", "page.show PAGE", "task.claim --as AGENT", "task.show TASK"}
"""Tasks whose answer is, or ends with, a free text as it was written."""


@pytest.fixture
def path(path):
    """Give a repository whose ledger holds hostile text in every column."""
    ledger = Ledger.on_sqlite(path / ".git/goldentree/ledger.db")
    with ledger.write() as tx:
        initiative = tx.initiatives.create(name="a").id
        phase = tx.phases.create(initiative_id=initiative, name="a").id
        task = tx.tasks.create(name="a", description="a", initiative_id=initiative, phase_id=phase).id
        tx.tasks.create(name="b", parent_task_id=task, phase_id=phase)
        agent = tx.agents.create(name="ann", worktree_id="x").id
        other = tx.agents.create(name="bob", worktree_id="x").id
        rows = {
            "INITIATIVE": initiative,
            "PHASE": phase,
            "TASK": task,
            "AGENT": agent,
            "CONVERSATION": tx.conversations.create(from_agent_id=other, to_agent_id=agent, question="a").id,
            "PAGE": tx.pages.create(initiative_id=initiative, title="a", content="a").id,
            "MESSAGE": tx.messages.create(sender_type="user", recipient_type="user", content="a").id,
            "CHAT": tx.chat_sessions.create_session(target_type="task", target_id=task, initiative_id=initiative).id,
        }
        tx.chat_sessions.create_message(chat_session_id=rows["CHAT"], role="user", content="a")
        tx.review_comments.create(phase_id=phase, file_path="a", line_number=1, line_type="added", body="a")
        tx.proposals.create(agent_id=agent, initiative_id=initiative, target_type="task", title="a")
        tx.projects.create(name="a", url="a")
        tx.accounts.create(email="a")
        tx.log_chunks.create(agent_id=agent, agent_name="a", session_number=1, content="a")
    ledger.engine.dispose()
    with closing(sqlite3.connect(path / ".git/goldentree/ledger.db")) as database, database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                if column in FREE | LINES:
                    text = f"'{HOSTILE + FORGED if column in FREE else HOSTILE}' || rowid"
                    database.execute(f"UPDATE {table} SET {column} = {text} WHERE {column} IS NOT NULL")
    return path, rows


def test_no_task_lets_foreign_text_control_a_terminal(path):
    """Neither a terminal nor a pipe gets a control sequence, and JSON has the text itself, escaped."""
    path, rows = path
    shown = 0
    for number, task in enumerate(SHOWS):
        words = [rows.get(word, HOSTILE if word == "HOSTILE" else word) for word in task.split()]
        _, received = inprocess.inv_in_terminal(path, {"TERM": "xterm", "COLUMNS": "4000"}, *words)
        piped = inprocess.inv(path, {}, *words, *(["--json"] if number % 2 else []))
        for text in (OWN_STYLES.sub("", received).replace("\r\n", "\n"), piped.stdout, piped.stderr):
            assert escape_controls(text) == text, (task, text)
            assert "Traceback" not in text, text
        assert number % 2 == 0 or json.loads(piped.stdout), task
        shown += r"\x1b]52" in received
        if task not in FREE_TEXTS:
            assert not [line for line in received.splitlines() if line.startswith("✓ forged")], (task, received)
    assert shown >= 20  # the fixture reaches them
