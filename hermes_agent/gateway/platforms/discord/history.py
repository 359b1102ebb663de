"""The last messages of busy channels, for the agent that is mentioned there.

Everything a channel's people write passes by anyway; only what was written before the bot came is fetched.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp
import discord

from hermes_agent.gateway.platforms.outside import whole

_LOG = logging.getLogger(__name__)

_MAX_CHANNELS = 200
_LINE_LENGTH = 400


@dataclass
class _Channel:
    lines: deque[tuple[int, str]]
    is_whole: bool = False
    told: dict[int, int] = field(default_factory=dict)
    """Up to which message the agent knows the channel, by person (each has a conversation)."""


class ChannelHistory:
    """Recent messages by channel (or thread) id.

    Args:
        count: How many are kept and shown.
        text_of: What a message says.
        bot_id: Whose messages the agent knows already.
    """

    def __init__(self, count: int, text_of: Callable[[discord.Message], str], bot_id: int) -> None:
        self._count = count
        self._text_of = text_of
        self._bot_id = bot_id
        self._channels: OrderedDict[int, _Channel] = OrderedDict()

    def add(self, message: discord.Message) -> None:
        """Somebody wrote it."""
        if not self._count:
            return
        channel = self._channel(message.channel.id)
        if line := self._line(message):
            channel.lines.append((message.id, line))

    def forget(self) -> None:
        """Messages may have been missed: fetch again what is needed."""
        for channel in self._channels.values():
            channel.is_whole = False

    async def before(self, message: discord.Message) -> str:
        """What the channel said before a message and the agent was not told yet; never raises."""
        if not self._count:
            return ""
        channel = self._channel(message.channel.id)
        if not channel.is_whole:
            try:
                found = [each async for each in _earlier(message, self._count)]
            except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
                _LOG.info("discord: the history of channel %s cannot be read: %s", message.channel.id, error)
            else:
                channel.is_whole = True
                lines = {each.id: line for each in found if (line := self._line(each))}
                lines |= {key: line for key, line in channel.lines if key >= message.id}
                channel.lines = deque(sorted(lines.items()), maxlen=self._count)
        told = channel.told.get(message.author.id, 0)
        channel.told[message.author.id] = message.id
        return "\n".join(line for key, line in channel.lines if told < key < message.id)

    def _line(self, message: discord.Message) -> str:
        if message.author.id == self._bot_id:
            return ""
        text = " ".join(self._text_of(message).split())[:_LINE_LENGTH]
        files = f" [{len(message.attachments)} file(s)]" if message.attachments else ""
        return f"{whole(message.author.display_name)}: {text}{files}" if text or files else ""

    def _channel(self, channel_id: int) -> _Channel:
        found = self._channels.get(channel_id)
        if found is None:
            found = self._channels[channel_id] = _Channel(deque(maxlen=self._count))
            if len(self._channels) > _MAX_CHANNELS:
                self._channels.popitem(last=False)
        self._channels.move_to_end(channel_id)
        return found


def _earlier(message: discord.Message, count: int) -> AsyncIterator[discord.Message]:
    return message.channel.history(limit=count, before=message)
