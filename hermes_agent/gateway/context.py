"""What all conversations of the gateway share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hermes_agent.core.errors import UsageError
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.core.platform import ChatAddress, InboundMessage, Platform
from hermes_agent.gateway.access import Access
from hermes_agent.gateway.delivery import Delivery
from hermes_agent.gateway.ports import GatewayPorts
from hermes_agent.gateway.processes import ProcessNotices

if TYPE_CHECKING:
    from hermes_agent.gateway.conversation import Conversation


async def _holds_none(_session_id: str) -> bool:
    return True


def _no_conversations() -> Sequence[Conversation]:
    return ()


async def _cannot(_name: str) -> None:
    raise UsageError("Platforms cannot be paused here")


@dataclass
class GatewayContext:
    """Handed to every conversation.

    Attributes:
        route: Gives a stored message to its conversation.
        processes: Tells chats about background processes.
        release: Closes a session (by id) that a conversation has open and idle; False if it is at work.
        conversations: All that are known now.
        is_draining: No new run begins.
        on_idle: A conversation has nothing to do any more.
        pause: Disconnect a platform until `resume`; raises `UsageError`.
    """

    ports: GatewayPorts
    access: Access
    delivery: Delivery
    platform_of: Callable[[str], Platform | None]
    route: Callable[[InboxEntry], None]
    platform_lines: Callable[[], list[str]]
    processes: ProcessNotices
    release: Callable[[str], Awaitable[bool]] = field(default=_holds_none)
    conversations: Callable[[], Sequence[Conversation]] = field(default=_no_conversations)
    pause: Callable[[str], Awaitable[None]] = field(default=_cannot)
    resume: Callable[[str], Awaitable[None]] = field(default=_cannot)
    on_idle: Callable[[], None] = field(default=lambda: None)
    is_draining: bool = False

    def address_of(self, message: InboundMessage) -> ChatAddress:
        """Where answers to a message go."""
        return message.address
