"""Who may use which command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from hermes_agent.agent.commands import SlashCommand
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.gateway.replies import Reply

if TYPE_CHECKING:
    from hermes_agent.gateway.conversation import Conversation

OWNER_ONLY = frozenset(
    {"reload", "mcp", "reload-mcp", "restart", "platform", "yolo", "sethome", "rollback", "insights"}
)
"""Commands that concern the whole gateway, everybody's figures, or files of this machine."""

Handler: TypeAlias = "Callable[[Conversation, InboxEntry, SlashCommand], Awaitable[Reply | None]]"
"""Does one command. None means that the message went to a run, which finishes it."""


def is_owner(conversation: Conversation, entry: InboxEntry) -> bool:
    """Whether the author of a message may use commands that concern the whole gateway."""
    return conversation.context.access.is_owner(entry.message.platform, entry.message.sender)
