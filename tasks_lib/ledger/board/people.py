"""
Messages, questions, agents and errands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.ledger.board.text import NONE, ago, badge, code, said, table, written
from tasks_lib.program_name import name_program

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tasks_lib.ledger.board.content import Board
    from tasks_lib.ledger.schema.agents import Agent
    from tasks_lib.ledger.schema.errands import Errand
    from tasks_lib.ledger.schema.talk import Conversation, Message


def messages(board: Board) -> str:
    """Return the messages that wait for the user."""

    def letter(message: Message) -> str:
        head = f"{_name(board, message.sender_id)} {badge(message.type)} {ago(message.created_at, board.taken)}"
        verb = f"reply {message.id[:8]} '...'" if message.requires_response else f"read {message.id[:8]}"
        return _letter(head, message.content, name_program(f"inv message.{verb}"))

    return _letters(map(letter, board.messages))


def questions(board: Board) -> str:
    """Return the open questions between agents."""

    def letter(question: Conversation) -> str:
        asker, asked = _name(board, question.from_agent_id), _name(board, question.to_agent_id)
        about = f' about <a href="#task-{question.task_id}">a task</a>' if question.task_id in board.states else ""
        head = f"{asker} asks {asked}{about} {ago(question.created_at, board.taken)}"
        return _letter(head, question.question, name_program(f"inv agent.answer {question.id[:8]} '...'"))

    return _letters(map(letter, board.questions))


def agents(board: Board) -> str:
    """Return the active agents with their tasks and worktrees."""
    tasks = {task.id: task for work in board.works for task in work.tasks}

    def cells(agent: Agent) -> list[str]:
        place, task = board.places.get(agent.worktree_id), tasks.get(agent.task_id or "")
        lost = f" {badge('crashed', 'process has ended')}" if agent.id in board.lost else ""
        last = task and board.holders.get(task.id) is not agent
        return [
            said(agent.name),
            badge(agent.status) + lost,
            f'<a href="#task-{task.id}">{said(task.name)}</a>{" (its last)" if last else ""}' if task else NONE,
            code(place.branch if place else agent.worktree_id),
            "in another repository" if place is None else code(place.path) if place.path else "removed",
            code(place.database) if place else NONE,
            ago(agent.updated_at, board.taken),
        ]

    headings = ("Agent", "State", "Task", "Branch", "Worktree", "Database", "Last change")
    left_out = len(board.agents) - len(board.active_agents), "stopped"
    return _table("Active agents", left_out, headings, map(cells, board.active_agents))


def errands(board: Board) -> str:
    """Return the errands that are not finished."""

    def cells(errand: Errand) -> list[str]:
        return [
            said(errand.description),
            badge(errand.status),
            code(errand.branch),
            code(errand.base_branch),
            said(errand.agent_alias),
            ago(errand.updated_at, board.taken),
        ]

    headings = ("Errand", "State", "Branch", "From", "Agent", "Last change")
    left_out = len(board.errands) - len(board.open_errands), "merged or abandoned"
    return _table("Open errands", left_out, headings, map(cells, board.open_errands))


def _table(caption: str, left_out: tuple[int, str], headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose caption says how many rows are left out, and why."""
    shown, (number, why) = list(rows), left_out
    more = f"{number} {'are' if number > 1 else 'is'} {why}" if number else ""
    if not shown:
        return f'<p class="none">{f"None; {more}" if more else "None"}.</p>'
    return table(f"{caption}; {more}" if more else caption, headings, shown)


def _letters(letters: Iterable[str]) -> str:
    found = "".join(letters)
    return f"<ul>{found}</ul>" if found else '<p class="none">None.</p>'


def _letter(head: str, content: str, cure: str) -> str:
    return f"<li><p>{head}</p>{written(content)}<p>{code(cure)}</p></li>"


def _name(board: Board, agent_id: str | None) -> str:
    return f"<b>{said(board.agents[agent_id].name)}</b>" if agent_id else "<b>a deleted agent</b>"
