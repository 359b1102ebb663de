"""Reading conversations for other programs.

A `session_key` names a chat of the gateway (`agent:main:telegram:dm:123`) or, for conversations that are in
no chat, is the session's id. A message's id is also the cursor of the event that it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hermes_agent.core.errors import SessionNotFoundError, UsageError
from hermes_agent.core.inbox import Chat
from hermes_agent.core.messages import AssistantMessage, ImagePart, Message, ToolMessage, UserMessage
from hermes_agent.core.session import SessionRecord, StoredMessage
from hermes_agent.mcp.server.ports import ServerPorts

MAX_CONVERSATIONS = 200
MAX_MESSAGES = 200
MAX_EVENTS = 200
MAX_WAIT_MS = 300_000
MAX_TEXT_CHARS = 20_000
"""Of one message; the rest is cut, and said to be."""

_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class _Place:
    """A conversation: its session, and the chat it is in, if any."""

    key: str
    session_id: str
    chat: Chat | None = None


class Conversations:
    """The reading tools. Every answer is JSON-compatible."""

    def __init__(self, ports: ServerPorts) -> None:
        self._ports = ports

    async def overview(self, platform: str | None, limit: int, search: str | None) -> dict[str, Any]:
        """Conversations, the most recently used first."""
        wanted = _clamp(limit, MAX_CONVERSATIONS)
        chats = {chat.session_id: chat for chat in await self._ports.chats.chats()}
        if search:
            records = await self._found(search, platform, wanted)
        else:
            records = list(await self._ports.sessions.list(limit=wanted, source=platform or None))
        return {
            "count": len(records),
            "conversations": [self._entry(record, chats.get(record.id)) for record in records],
        }

    async def get(self, session_key: str) -> dict[str, Any]:
        """One conversation."""
        place = await self._place(session_key)
        record = await self._ports.sessions.get(place.session_id)
        return {
            **self._entry(record, place.chat),
            "model": record.model,
            "started_at": _iso(record.started_at),
            "ended_at": _iso(record.ended_at) if record.ended_at else None,
            "tool_call_count": record.tool_call_count,
            "parent_session_id": record.parent_session_id,
            "origin": dict(place.chat.origin) if place.chat else {},
        }

    async def read(self, session_key: str, limit: int) -> dict[str, Any]:
        """The newest messages of people and of the agent, oldest first."""
        place = await self._place(session_key)
        stored = [
            each
            for each in await self._ports.sessions.messages(place.session_id)
            if not isinstance(each.message, ToolMessage) and _text(each.message)
        ]
        newest = stored[-_clamp(limit, MAX_MESSAGES) :]
        return {
            "session_key": place.key,
            "session_id": place.session_id,
            "count": len(newest),
            "total": len(stored),
            "messages": [self._message(each) for each in newest],
        }

    async def attachments(self, session_key: str, message_id: int) -> dict[str, Any]:
        """Images of one message, inline (`data`, base64) or by `url`."""
        place = await self._place(session_key)
        for each in await self._ports.sessions.messages(place.session_id):
            if each.id == message_id:
                found = [_attachment(image) for image in _images(each.message)]
                return {"message_id": str(message_id), "count": len(found), "attachments": found}
        raise UsageError(f"There is no message {message_id} in {session_key!r}")

    async def poll(self, after_cursor: int | None, session_key: str | None, limit: int) -> dict[str, Any]:
        """What was said after a cursor. Without one: nothing, and the cursor to begin with."""
        if after_cursor is None:
            return {"events": [], "next_cursor": await self._ports.feed.newest()}
        place = await self._place(session_key) if session_key else None
        wanted = _clamp(limit, MAX_EVENTS)
        newest = await self._ports.feed.newest()
        found = await self._ports.feed.after(
            max(0, after_cursor), session_id=place.session_id if place else None, limit=wanted
        )
        keys = {chat.session_id: chat.session_key for chat in await self._ports.chats.chats()}
        events = [
            {"cursor": each.id, "type": "message", "session_key": keys.get(each.session_id, each.session_id)}
            | self._message(each)
            for each in found
        ]
        # What is left out on purpose must not be looked through again by the next poll.
        end = found[-1].id if found else max(after_cursor, newest)
        return {"events": events, "next_cursor": end}

    async def wait(
        self, after_cursor: int | None, session_key: str | None, limit: int, timeout_ms: int
    ) -> dict[str, Any]:
        """The same, but waits for something to be said."""
        deadline = time.monotonic() + min(max(0, timeout_ms), MAX_WAIT_MS) / 1000
        cursor = after_cursor if after_cursor is not None else await self._ports.feed.newest()
        while True:
            answer = await self.poll(cursor, session_key, limit)
            left = deadline - time.monotonic()
            if answer["events"] or left <= 0:
                return {**answer, "timed_out": not answer["events"]}
            cursor = answer["next_cursor"]
            await asyncio.sleep(min(_POLL_SECONDS, left))

    async def channels(self, platform: str | None) -> dict[str, Any]:
        """Where messages can be sent."""
        found: dict[str, dict[str, Any]] = {}
        for chat in await self._ports.chats.chats():
            if (platform and chat.platform != platform) or not target_of(chat):
                continue
            found.setdefault(
                target_of(chat),
                {
                    "target": target_of(chat),
                    "platform": chat.platform,
                    "name": self._redacted(
                        chat.origin.get("chat_name") or chat.origin.get("user_name") or ""
                    ),
                    "type": chat.origin.get("chat_type", ""),
                    "session_key": chat.session_key,
                    "last_active_at": _iso(chat.updated_at),
                },
            )
        return {"count": len(found), "channels": list(found.values())}

    async def find_chat(self, session_key: str) -> Chat | None:
        """The chat of a key, if it is one."""
        return await self._ports.chats.chat(session_key)

    async def _place(self, session_key: str) -> _Place:
        chat = await self._ports.chats.chat(session_key)
        if chat is not None:
            return _Place(session_key, chat.session_id, chat)
        try:
            record = await self._ports.sessions.resolve(session_key)
        except SessionNotFoundError as error:
            raise UsageError(
                f"There is no conversation {session_key!r}",
                remedy="conversations_list shows their session keys",
            ) from error
        return _Place(record.id, record.id)

    async def _found(self, search: str, platform: str | None, limit: int) -> list[SessionRecord]:
        hits = await self._ports.sessions.search(search, limit=limit * 4, source=platform or None)
        records = [
            record
            for record in await self._ports.sessions.list(limit=1000, source=platform or None)
            if search.lower() in (record.title or "").lower()
        ]
        known = {record.id for record in records}
        for hit in hits:
            if hit.session_id not in known:
                known.add(hit.session_id)
                records.append(await self._ports.sessions.get(hit.session_id))
        return sorted(records, key=lambda record: -record.last_active_at)[:limit]

    def _entry(self, record: SessionRecord, chat: Chat | None) -> dict[str, Any]:
        return {
            "session_key": chat.session_key if chat else record.id,
            "session_id": record.id,
            "platform": chat.platform if chat else record.source,
            "title": self._redacted(record.title or ""),
            "name": self._redacted(chat.origin.get("chat_name", "")) if chat else "",
            "preview": self._redacted(record.preview[:200]),
            "message_count": record.message_count,
            "updated_at": _iso(record.last_active_at or record.started_at),
        }

    def _message(self, stored: StoredMessage) -> dict[str, Any]:
        text = self._redacted(_text(stored.message))
        values: dict[str, Any] = {
            "id": str(stored.id),
            "role": _role(stored.message),
            "content": text[:MAX_TEXT_CHARS],
            "timestamp": _iso(stored.timestamp),
            "attachments": len(_images(stored.message)),
        }
        if len(text) > MAX_TEXT_CHARS:
            values["omitted_chars"] = len(text) - MAX_TEXT_CHARS
        if isinstance(stored.message, AssistantMessage) and stored.message.tool_calls:
            values["tools"] = [call.name for call in stored.message.tool_calls]
        if isinstance(stored.message, ToolMessage):
            values["tool"] = stored.message.tool_name
        return values

    def _redacted(self, text: str) -> str:
        return self._ports.redact(text)


def target_of(chat: Chat) -> str:
    """Where an answer to a chat goes (`platform:chat[:thread]`); empty if that is not known."""
    origin: Mapping[str, str] = chat.origin
    if not origin.get("chat_id"):
        return ""
    return ":".join(part for part in (chat.platform, origin["chat_id"], origin.get("thread_id", "")) if part)


def _clamp(limit: int, most: int) -> int:
    return max(1, min(limit, most))


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


def _role(message: Message) -> str:
    if isinstance(message, UserMessage):
        return "user"
    return "tool" if isinstance(message, ToolMessage) else "assistant"


def _text(message: Message) -> str:
    return message.text


def _images(message: Message) -> tuple[ImagePart, ...]:
    if isinstance(message, UserMessage):
        return tuple(part for part in message.parts if isinstance(part, ImagePart))
    return message.images if isinstance(message, ToolMessage) else ()


def _attachment(image: ImagePart) -> dict[str, Any]:
    values = {"type": "image", "media_type": image.media_type, "url": image.url, "data": image.data}
    return {key: value for key, value in values.items() if value is not None}
