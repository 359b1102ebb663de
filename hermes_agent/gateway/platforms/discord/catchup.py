"""Messages that came while nobody listened, fetched over REST."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias

import aiohttp
import discord

from hermes_agent.gateway.platforms.discord.memory import Memory

_Channel: TypeAlias = (
    discord.TextChannel
    | discord.VoiceChannel
    | discord.StageChannel
    | discord.Thread
    | discord.PartialMessageable
)

_LOG = logging.getLogger(__name__)

MAX_MESSAGES = 1000
"""Of one channel."""


async def missed(client: discord.Client, memory: Memory, hours: float) -> AsyncIterator[discord.Message]:
    """Messages newer than those remembered, channel by channel, the oldest first.

    Channels and threads of servers tell their newest message, so that only those are asked which have
    something new; of direct chats those are asked that the bot knows.
    """
    oldest = time.time() - hours * 3600
    for channel in [*_direct_chats(client, memory), *_server_channels(client, memory, oldest)]:
        after = memory.missed_after(channel.id, oldest)
        try:
            found = [each async for each in channel.history(limit=MAX_MESSAGES, after=discord.Object(after))]
        except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
            _LOG.info("discord: what was missed in %s cannot be read: %s", channel.id, error)
            continue
        if found:
            _LOG.info("discord: %d messages were missed in %s", len(found), channel.id)
        for message in sorted(found, key=lambda each: each.id):
            yield message


def _server_channels(client: discord.Client, memory: Memory, oldest: float) -> Iterator[_Channel]:
    for guild in client.guilds:
        channels: list[discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.Thread] = [
            *guild.text_channels,
            *guild.voice_channels,
            *guild.stage_channels,
            *guild.threads,
        ]
        for channel in channels:
            newest = channel.last_message_id or 0
            if newest > memory.missed_after(channel.id, oldest):
                yield channel


def _direct_chats(client: discord.Client, memory: Memory) -> Iterator[_Channel]:
    for channel_id in list(memory.direct):
        yield client.get_partial_messageable(channel_id, type=discord.ChannelType.private)
