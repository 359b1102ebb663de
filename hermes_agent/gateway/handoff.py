"""`/handoff PLATFORM` of the terminal: a conversation goes on in the home channel of a platform."""

from __future__ import annotations

import time

from hermes_agent.core.errors import GatewayError
from hermes_agent.core.inbox import Chat
from hermes_agent.core.outbox import Outgoing
from hermes_agent.core.platform import ChatAddress
from hermes_agent.gateway.context import GatewayContext
from hermes_agent.gateway.home_channel import home_channel


async def hand_over(context: GatewayContext, platform: str, session_id: str) -> str:
    """Let the home channel's next message go on with this session; returns where that is.

    Raises:
        GatewayError: There is no home channel, or the agent is at work there.
        SessionNotFoundError: There is no such session.
    """
    ports = context.ports
    if context.platform_of(platform) is None:
        raise GatewayError(f"{platform} is not connected", remedy="hermes gateway status shows what is.")
    home = await home_channel(platform, ports.settings(), ports.environ().get, ports.chats)
    if home is None:
        raise GatewayError(
            f"{platform} has no home channel", remedy="Write /sethome in the chat where this is to go on."
        )
    record = await ports.sessions.get(session_id)
    chat = next((each for each in await ports.chats.chats() if _is_at(each, home)), None)
    parts = ("agent", "main", platform, "dm", home.chat_id, home.thread_id)
    key = chat.session_key if chat is not None else ":".join(part for part in parts if part)
    for each in context.conversations():
        if each.key == key and not await each.give_up():
            raise GatewayError(
                "The agent is at work in the home channel", remedy="Write /stop there, or wait."
            )
    origin = {
        "platform": platform,
        "chat_id": home.chat_id,
        "thread_id": home.thread_id,
        "chat_type": "dm",
        **(chat.origin if chat is not None else {}),
    }
    await ports.chats.put_chat(key, platform, record.id, origin)
    name = record.title or record.preview or record.id
    await context.delivery.put(
        Outgoing(
            key=f"handoff:{record.id}:{time.time_ns():x}",
            address=home,
            text=f"🤝 “{' '.join(name.split())[:80]}” goes on here: write what you want next.",
        )
    )
    return str(home)


def _is_at(chat: Chat, home: ChatAddress) -> bool:
    origin = chat.origin
    there = ChatAddress(chat.platform, origin.get("chat_id", ""), origin.get("thread_id", ""))
    return there == home
