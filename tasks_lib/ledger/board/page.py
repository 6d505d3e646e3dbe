"""
The whole page in one file, without access to the network.

Its content security policy loads nothing and runs only its own script, identified by hash. So text from the ledger
could not run as a script even if the escaping had a bug.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.ledger.board import people, work
from tasks_lib.ledger.board.text import ago, code, said, section, symbols

if TYPE_CHECKING:
    from tasks_lib.ledger.board.content import Board

GENERATOR = '<meta name="generator" content="goldentree ledger.board">'
"""Identifies a board, so that no other file is replaced."""


def page(board: Board, title: str) -> str:
    """Return the page of *board*, called *title*."""
    style, script = (Path(__file__).with_name(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    allowed = b64encode(sha256(script.encode()).digest()).decode()
    entries = {
        "Work": len(board.states),
        "Messages": len(board.messages),
        "Questions": len(board.questions),
        "Agents": len(board.active_agents),
        "Errands": len(board.open_errands),
    }
    entry = "\n".join(f'<a href="#{name.lower()}">{name} <b>{number}</b></a>' for name, number in entries.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{GENERATOR}
<title>{escape(title)}: ledger</title>
<style>{style}</style>
</head>
<body>
{symbols()}
<header>
<h1>{said(title)} <span>ledger</span></h1>
<p>As of <b>{board.taken:%Y-%m-%d %H:%M} UTC</b>, {ago(board.taken, board.taken)}
<span class="where">{code(board.where)}</span></p>
</header>
<nav aria-label="Parts of this page">
{entry}
</nav>
<main>
<div class="talk">
{section("messages", "Messages for you", people.messages(board))}
{section("questions", "Open questions", people.questions(board))}
</div>
{section("work", "Work", work.legend(board) + work.initiatives(board))}
{section("agents", "Agents", people.agents(board))}
{section("errands", "Errands", people.errands(board))}
</main>
<script>{script}</script>
</body>
</html>
"""
