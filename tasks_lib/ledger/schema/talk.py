"""
Questions between agents, messages with the user, and chats about a phase or task.
"""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tasks_lib.ledger.schema.base import Base, Created, Timestamped, choice, reference


class ConversationStatus(StrEnum):
    """Whether a question was answered."""

    PENDING = "pending"
    ANSWERED = "answered"


class Conversation(Timestamped, Base, kw_only=True):
    """A question of one agent to another, and its answer."""

    __tablename__ = "conversations"
    __table_args__ = (
        sa.Index(None, "to_agent_id", "status"),
        sa.CheckConstraint("from_agent_id <> to_agent_id", name="other"),
    )

    from_agent_id: Mapped[str] = mapped_column(reference("agents.id", "CASCADE"), index=True)
    to_agent_id: Mapped[str] = mapped_column(reference("agents.id", "CASCADE"))
    initiative_id: Mapped[str | None] = mapped_column(reference("initiatives.id", "SET NULL"), default=None)
    phase_id: Mapped[str | None] = mapped_column(reference("phases.id", "SET NULL"), default=None)
    task_id: Mapped[str | None] = mapped_column(reference("tasks.id", "SET NULL"), default=None)
    question: Mapped[str]
    answer: Mapped[str | None] = mapped_column(default=None)
    status: Mapped[ConversationStatus] = mapped_column(choice(ConversationStatus), default=ConversationStatus.PENDING)


class Party(StrEnum):
    """The kind of sender or recipient of a message."""

    AGENT = "agent"
    USER = "user"


class MessageType(StrEnum):
    """The kind of message."""

    QUESTION = "question"
    INFO = "info"
    ERROR = "error"
    RESPONSE = "response"


class MessageStatus(StrEnum):
    """The status of a message."""

    PENDING = "pending"
    READ = "read"
    RESPONDED = "responded"


class Message(Timestamped, Base, kw_only=True):
    """
    A message between an agent and the user, or between two agents; a reply names its parent.
    """

    __tablename__ = "messages"

    sender_type: Mapped[Party] = mapped_column(choice(Party, "sender"))
    sender_id: Mapped[str | None] = mapped_column(reference("agents.id", "SET NULL"), default=None)
    recipient_type: Mapped[Party] = mapped_column(choice(Party, "recipient"))
    recipient_id: Mapped[str | None] = mapped_column(reference("agents.id", "SET NULL"), default=None)
    type: Mapped[MessageType] = mapped_column(choice(MessageType), default=MessageType.INFO)
    content: Mapped[str]
    requires_response: Mapped[bool] = mapped_column(default=False)
    status: Mapped[MessageStatus] = mapped_column(choice(MessageStatus), default=MessageStatus.PENDING)
    parent_message_id: Mapped[str | None] = mapped_column(
        reference("messages.id", "SET NULL"), index=True, default=None
    )


class ChatTarget(StrEnum):
    """The kind of row that a chat is about."""

    PHASE = "phase"
    TASK = "task"


class ChatStatus(StrEnum):
    """Whether a chat is open; a closed chat stays closed."""

    ACTIVE = "active"
    CLOSED = "closed"


class ChatSession(Timestamped, Base, kw_only=True):
    """
    A chat that refines a phase or task.

    Attributes:
        target_id: The phase or task; no foreign key, so the chat outlives it.
    """

    __tablename__ = "chat_sessions"
    __table_args__ = (sa.Index(None, "target_type", "target_id"),)

    target_type: Mapped[ChatTarget] = mapped_column(choice(ChatTarget))
    target_id: Mapped[str]
    initiative_id: Mapped[str] = mapped_column(reference("initiatives.id", "CASCADE"), index=True)
    agent_id: Mapped[str | None] = mapped_column(reference("agents.id", "SET NULL"), default=None)
    status: Mapped[ChatStatus] = mapped_column(choice(ChatStatus), default=ChatStatus.ACTIVE)


sa.Index(
    "uq_chat_sessions_active",
    ChatSession.__table__.c.target_type,
    ChatSession.__table__.c.target_id,
    unique=True,
    sqlite_where=sa.text("status = 'active'"),
    postgresql_where=sa.text("status = 'active'"),
)


class ChatRole(StrEnum):
    """The speaker of a chat message."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class ChatMessage(Created, Base, kw_only=True):
    """A message in a chat; one of the assistant may name the changes that it made."""

    __tablename__ = "chat_messages"

    chat_session_id: Mapped[str] = mapped_column(reference("chat_sessions.id", "CASCADE"), index=True)
    role: Mapped[ChatRole] = mapped_column(choice(ChatRole))
    content: Mapped[str]
    change_set_id: Mapped[str | None] = mapped_column(reference("change_sets.id", "SET NULL"), default=None)
