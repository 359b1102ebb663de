"""Where unasked messages of a platform go: `/sethome`, `<PLATFORM>_HOME_CHANNEL`, or the settings."""

from __future__ import annotations

from collections.abc import Callable

from hermes_agent.config.settings import Settings
from hermes_agent.core.inbox import ChatDirectory
from hermes_agent.core.platform import ChatAddress


async def home_channel(
    platform: str,
    settings: Settings,
    variable: Callable[[str], str | None],
    chats: ChatDirectory,
) -> ChatAddress | None:
    """The home channel; the newest word wins: `/sethome`, then the variable, then config.yaml."""
    text = await chats.get_fact(platform, "home_channel") or variable(f"{platform.upper()}_HOME_CHANNEL")
    if text:
        return parse_chat(platform, text)
    own = settings.platforms.get(platform)
    if own is not None and own.home_channel.chat_id:
        return ChatAddress(platform, own.home_channel.chat_id, own.home_channel.thread_id)
    return None


def parse_chat(platform: str, text: str) -> ChatAddress:
    """`CHAT` or `CHAT:THREAD`. Ids that begin with `!`, `#` or `@` (Matrix) contain colons themselves."""
    if text[:1] in ("!", "#", "@"):
        chat_id, _, thread_id = text.partition("|")
    else:
        chat_id, _, thread_id = text.partition(":")
    return ChatAddress(platform, chat_id, thread_id)
