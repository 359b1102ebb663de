"""What was said before: missed messages, and the context of a mention."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from hermes_agent.core.errors import DeliveryError
from hermes_agent.gateway.platforms.slack.memory import Memory
from hermes_agent.gateway.platforms.slack.messages import Place, Reader
from hermes_agent.gateway.platforms.slack.people import People, mentioned
from hermes_agent.gateway.platforms.slack.web import Web

_LOG = logging.getLogger(__name__)

_KINDS = ("im", "mpim", "public_channel", "private_channel")
_CONTEXT_SECONDS = 2.0
_LINE_LENGTH = 400
_MAX_MISSED = 1000


class History:
    """Reads conversations where the app's scopes allow.

    Args:
        web: With the bot's token.
        memory: How far everything was read.
        count: How many messages a mention is given.
        hours: How far back missed messages are read.
    """

    def __init__(self, web: Web, memory: Memory, people: People, *, count: int, hours: float) -> None:
        self._web = web
        self._memory = memory
        self._people = people
        self._count = count
        self._hours = hours

    async def channels(self) -> dict[str, str]:
        """Conversations the bot is in, with their kind as in events (`im`, `channel` …)."""
        names = {"public_channel": "channel", "private_channel": "group"}
        found: dict[str, str] = {}
        for kind in _KINDS:
            try:
                pages = self._web.pages(
                    "users.conversations", "channels", types=kind, limit=200, exclude_archived="true"
                )
                async for each in pages:
                    found[str(each.get("id"))] = names.get(kind, kind)
            except DeliveryError as error:
                _LOG.info("slack: conversations of kind %s cannot be listed: %s", kind, error)
        return found

    async def missed(self, channel: str, kind: str) -> AsyncIterator[dict[str, Any]]:
        """Messages of a channel that were not seen yet, the oldest first, as events."""
        oldest = self._memory.missed_after(channel, time.time() - self._hours * 3600)
        found = await self._all("conversations.history", channel=channel, oldest=oldest, limit=200)
        prefix = f"{channel}:"
        for key, seen in list(self._memory.threads.items()):
            if key.startswith(prefix) and float(seen) > time.time() - self._hours * 3600:
                thread = key.removeprefix(prefix)
                found += await self._all(
                    "conversations.replies", channel=channel, ts=thread, oldest=seen, limit=200
                )
        if found:
            _LOG.info("slack: %d messages of %s are looked at that came meanwhile", len(found), channel)
        by_time = {str(each.get("ts")): each for each in found}
        for ts in sorted(by_time):
            yield {"type": "message", **by_time[ts], "channel": channel, "channel_type": kind}

    async def context(self, place: Place, reader: Reader, *, in_thread: bool) -> str:
        """The lines before a message, by name; empty if they cannot be had soon."""
        if not self._count:
            return ""
        method, more = "conversations.history", {}
        if in_thread:
            method, more = "conversations.replies", {"ts": place.thread}
        try:
            async with asyncio.timeout(_CONTEXT_SECONDS):
                answer = await self._web.ask(
                    method, channel=place.channel, latest=place.ts, limit=self._count, **more
                )
        except (DeliveryError, TimeoutError) as error:
            _LOG.info("slack: the history of %s cannot be read: %s", place.channel, error)
            return ""
        messages = [each for each in answer.get("messages") or () if _is_readable(each, place.ts)]
        messages.sort(key=lambda each: str(each["ts"]))
        texts = " ".join(str(each.get("text") or "") for each in messages)
        await self._people.learn([*(str(each.get("user") or "") for each in messages), *mentioned(texts)])
        lines = [_line(each, reader) for each in messages if each.get("user") != reader.user_id]
        return "\n".join(line for line in lines if line)

    async def takes_part(self, place: Place, reader: Reader) -> bool:
        """Whether the bot has been spoken to in a thread that it does not remember."""
        try:
            async with asyncio.timeout(_CONTEXT_SECONDS):
                answer = await self._web.ask(
                    "conversations.replies", channel=place.channel, ts=place.thread, limit=50
                )
        except (DeliveryError, TimeoutError):
            return False
        return any(
            isinstance(each, dict) and (each.get("user") == reader.user_id or reader.is_mentioned(each))
            for each in answer.get("messages") or ()
        )

    async def _all(self, method: str, **arguments: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        try:
            async for each in self._web.pages(method, "messages", **arguments):
                if str(each.get("ts", "")) > arguments["oldest"]:  # replies always begin with the parent
                    found.append(each)
                if len(found) >= _MAX_MISSED:
                    break
        except DeliveryError as error:
            _LOG.info("slack: what was missed in %s cannot be read: %s", arguments["channel"], error)
        return found


def _is_readable(message: Any, before: str) -> bool:
    return isinstance(message, dict) and "" < str(message.get("ts") or "") < before


def _line(message: Mapping[str, Any], reader: Reader) -> str:
    text = " ".join(reader.text(message).split())[:_LINE_LENGTH]
    author = str(message.get("user") or message.get("bot_id") or "")
    files = f" [{len(message['files'])} file(s)]" if message.get("files") else ""
    return f"{reader.name_of(author)}: {text}{files}" if text or files else ""
