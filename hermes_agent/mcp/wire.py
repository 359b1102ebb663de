"""What the transports share: the streams of messages, and how bytes become one."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

MAX_MESSAGE_BYTES = 64 << 20
"""Longer messages end the connection."""
THREAD_BYTES = 1 << 20
"""Longer messages are parsed in a thread."""

Messages: TypeAlias = SessionMessage | Exception
Incoming: TypeAlias = MemoryObjectSendStream[Messages]
Streams: TypeAlias = tuple[MemoryObjectReceiveStream[Messages], MemoryObjectSendStream[SessionMessage]]


async def parse(text: bytes | str) -> SessionMessage:
    """One JSON-RPC message.

    Raises:
        ValidationError: It is none.
    """
    if len(text) < THREAD_BYTES:
        return SessionMessage(jsonrpc_message_adapter.validate_json(text, by_name=False))
    message = await asyncio.to_thread(jsonrpc_message_adapter.validate_json, text, by_name=False)
    return SessionMessage(message)
