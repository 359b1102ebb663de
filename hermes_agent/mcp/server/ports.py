"""What our MCP server needs from the layers beside it; `cli` fills it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from hermes_agent.core.feed import MessageFeed
from hermes_agent.core.inbox import ChatDirectory
from hermes_agent.core.session import SessionStore

AskGateway: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""A control command and its values to the answer; raises `GatewayError` if no gateway runs or it refuses."""


@dataclass(frozen=True, slots=True)
class ServerPorts:
    """The surroundings of the server.

    Attributes:
        sessions: Stored conversations.
        chats: Which chat of the gateway is in which session.
        feed: Messages in the order of their arrival.
        ask_gateway: Commands for the running gateway.
        redact: Applied to every text that leaves.
    """

    sessions: SessionStore
    chats: ChatDirectory
    feed: MessageFeed
    ask_gateway: AskGateway
    redact: Callable[[str], str]
