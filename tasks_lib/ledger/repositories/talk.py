"""
Repositories of conversations, messages and chat sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger.repositories.base import Repository
from tasks_lib.ledger.schema.talk import (
    ChatMessage,
    ChatSession,
    ChatStatus,
    ChatTarget,
    Conversation,
    ConversationStatus,
    Message,
    MessageStatus,
    Party,
)

if TYPE_CHECKING:
    from tasks_lib.ledger.schema.talk import ChatRole


class ConversationRepository(Repository[Conversation]):
    """Questions between agents; the module `conversations` chooses the agent to ask, and waits."""

    row, noun, listing = Conversation, "conversation", ""

    def find_pending_for_agent(self, agent_id: str) -> list[Conversation]:
        """Return the questions that an agent has not answered, the oldest first."""
        return self.find_all(to_agent_id=agent_id, status=ConversationStatus.PENDING)

    def answer(self, id: str, text: str) -> Conversation:
        """
        Answer a question, once.

        Raises:
            LedgerError: If *text* is empty.
            NotFoundError: If the question does not exist.
            ConflictError: If it was answered already; the error quotes the answer.
        """
        if not text.strip():
            raise LedgerError("the answer is empty")
        pending = Conversation.id == id, Conversation.status == ConversationStatus.PENDING
        answered = (
            sa.update(Conversation)
            .where(*pending)
            .values(answer=text, status=ConversationStatus.ANSWERED, updated_at=self.clock())
            .returning(Conversation)
            .execution_options(populate_existing=True, synchronize_session=False)
        )
        row = self.session.scalars(answered).first()
        if row is None:
            first = self.require(id)
            raise ConflictError(f"conversation `{id}` was answered already", why=f"with: {first.answer}")
        return row


class MessageRepository(Repository[Message]):
    """Messages between agents and the user."""

    row, noun = Message, "message"

    def create(self, **values: Any) -> Message:
        """Add a message; a reply changes its parent's status to `responded`."""
        message = super().create(**values)
        if message.parent_message_id:
            self.update(message.parent_message_id, status=MessageStatus.RESPONDED)
        return message

    def find_pending_for_user(self) -> list[Message]:
        """Return the user's unread messages, the oldest first."""
        return self.find_all(recipient_type=Party.USER, status=MessageStatus.PENDING)

    def find_replies(self, message_id: str) -> list[Message]:
        """Return the direct replies to a message, the oldest first."""
        return self.find_all(parent_message_id=message_id)


class ChatSessionRepository(Repository[ChatSession]):
    """Chats about a phase or task: at most one active chat for each; a closed chat stays closed."""

    row, noun, listing = ChatSession, "chat session", "inv chat.list"

    def create_session(
        self, *, target_type: ChatTarget, target_id: str, initiative_id: str, agent_id: str | None = None
    ) -> ChatSession:
        """
        Open a chat.

        Raises:
            ConflictError: If the target has an active chat.
        """
        return self.create(target_type=target_type, target_id=target_id, initiative_id=initiative_id, agent_id=agent_id)

    def find_active_session(self, target_type: ChatTarget, target_id: str) -> ChatSession | None:
        """Return the active chat about a phase or task, None if it has none."""
        found = self.find_all(target_type=target_type, target_id=target_id, status=ChatStatus.ACTIVE)
        return found[0] if found else None

    def update_session(self, id: str, **values: Any) -> ChatSession:
        """
        Change the agent or status of a chat.

        Raises:
            ConflictError: If it is closed.
        """
        return self.update(id, **values)

    def update(self, id: str, **values: Any) -> ChatSession:
        """
        Change an active chat.

        Raises:
            ConflictError: If it is closed.
        """
        self._require_active(id)
        return super().update(id, **values)

    def create_message(
        self, *, chat_session_id: str, role: ChatRole, content: str, change_set_id: str | None = None
    ) -> ChatMessage:
        """
        Add a message to a chat.

        Raises:
            ConflictError: If it is closed.
        """
        self._require_active(chat_session_id)
        messages = _ChatMessageRepository(self.session, self.clock)
        return messages.create(chat_session_id=chat_session_id, role=role, content=content, change_set_id=change_set_id)

    def find_messages_by_session_id(self, chat_session_id: str) -> list[ChatMessage]:
        """Return the messages of a chat, the oldest first."""
        return _ChatMessageRepository(self.session, self.clock).find_all(chat_session_id=chat_session_id)

    def _require_active(self, id: str) -> None:
        if self.hold(id).status is ChatStatus.CLOSED:
            raise ConflictError(
                f"chat session `{id}` is closed", why="a closed chat stays closed", hint="inv chat.open"
            )


class _ChatMessageRepository(Repository[ChatMessage]):
    row, noun = ChatMessage, "chat message"
