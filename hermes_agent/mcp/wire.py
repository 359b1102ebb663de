"""What the transports share: the streams of messages, and how bytes become one."""

from __future__ import annotations

import asyncio
import json
from typing import TypeAlias

from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

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
    return _parse(text) if len(text) < THREAD_BYTES else await asyncio.to_thread(_parse, text)


def _parse(text: bytes | str) -> SessionMessage:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(text, by_name=False))
    except ValidationError as error:
        mended = _mended(text)
        if mended is None:
            raise
        try:
            return SessionMessage(jsonrpc_message_adapter.validate_json(mended, by_name=False))
        except ValidationError:
            raise error from None


def _mended(text: bytes | str) -> bytes | None:
    """The message without halves of characters: programs that cut texts anywhere send those. None if it is
    no JSON all the same."""
    try:
        data = json.loads(text if isinstance(text, str) else text.decode(errors="replace"))
        return json.dumps(data, ensure_ascii=False).encode(errors="replace")
    except (ValueError, RecursionError):
        return None
