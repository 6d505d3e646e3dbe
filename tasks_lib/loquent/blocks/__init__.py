"""
The blocks of the account in build order: a block refers only to rows of those before it.
"""

from __future__ import annotations

from tasks_lib.loquent.blocks.agents import AGENTS
from tasks_lib.loquent.blocks.bootstrap import ACCOUNT, ORGANIZATION, OWNER, PREFERENCES, TAGS, USER
from tasks_lib.loquent.blocks.contacts import CONTACTS, CONVERSATION, RICH_CONTACT
from tasks_lib.loquent.blocks.plan import BUDGET, SUBSCRIPTION
from tasks_lib.loquent.blocks.staff import STAFF
from tasks_lib.loquent.blocks.telephony import NUMBERS, TEXT_REPLY, TWILIO

BLOCKS = (
    USER,
    ACCOUNT,
    ORGANIZATION,
    OWNER,
    TAGS,
    PREFERENCES,
    SUBSCRIPTION,
    BUDGET,
    TWILIO,
    NUMBERS,
    AGENTS,
    TEXT_REPLY,
    STAFF,
    CONTACTS,
    RICH_CONTACT,
    CONVERSATION,
)

__all__ = ["BLOCKS"]
