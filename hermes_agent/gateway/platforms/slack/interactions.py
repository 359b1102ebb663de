"""Slash commands and buttons."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hermes_agent.core.errors import DeliveryError
from hermes_agent.core.platform import ButtonPress, InboundMessage, Person, PressReply, Receiver
from hermes_agent.gateway.platforms.slack.blocks import settled, translated
from hermes_agent.gateway.platforms.slack.formatting import escape
from hermes_agent.gateway.platforms.slack.messages import NAME, as_command
from hermes_agent.gateway.platforms.slack.web import Web

_SHOWN_LENGTH = 2900
_MAX_SETTLED = 200


class Interactions:
    """Takes what people choose and press; raises `StoreError` if it could not be kept."""

    def __init__(self, web: Web, receiver: Receiver) -> None:
        self._web = web
        self._receiver = receiver
        self._beside: set[asyncio.Task[None]] = set()
        self._settled: deque[str] = deque(maxlen=_MAX_SETTLED)

    async def command(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """`/hermes status` is `/status`, `/hermes anything else` a message; returns what its author sees."""
        text = str(payload.get("text") or "").strip() or "/help"
        meant = as_command(f"!{text.removeprefix('/').removeprefix('!')}")
        if meant.startswith("/"):
            text = meant
        user, channel = str(payload["user_id"]), str(payload["channel_id"])
        await self._receiver.receive(
            InboundMessage(
                platform=NAME,
                chat_id=channel,
                message_id=f"command-{payload['trigger_id']}",
                sender=Person(user, str(payload.get("user_name") or user)),
                text=text,
                chat_type="dm" if channel.startswith("D") else "channel",
            )
        )
        return {"response_type": "ephemeral", "text": translated(f"`{text[:_SHOWN_LENGTH]}`")}

    async def press(self, payload: Mapping[str, Any]) -> None:
        """Take presses of buttons."""
        message = payload.get("message") or {}
        container = payload.get("container") or {}
        user = payload["user"]
        person = Person(str(user["id"]), str(user.get("username") or user.get("name") or ""))
        channel = str((payload.get("channel") or {}).get("id") or container["channel_id"])
        ts = str(message.get("ts") or container.get("message_ts") or "")
        for action in payload.get("actions") or ():
            thread = str(message.get("thread_ts") or "")
            press = ButtonPress(NAME, channel, ts, person, str(action.get("value") or ""), thread)
            reply = await self._receiver.pressed(press)
            # Beside: Slack wants the acknowledgement soon.
            task = asyncio.create_task(self._answer(press, reply or "Done.", message))
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)

    async def finish(self) -> None:
        """Wait a moment for answers that are on their way."""
        if self._beside:
            await asyncio.wait(self._beside, timeout=1)

    async def _answer(self, press: ButtonPress, reply: str, message: Mapping[str, Any]) -> None:
        """Tell whoever pressed; a settled question loses its buttons and says how it ended."""
        with suppress(DeliveryError):  # it is only for the eye
            await self._web.call(
                "chat.postEphemeral",
                channel=press.chat_id,
                user=press.sender.id,
                thread_ts=press.thread_id,
                text=translated(reply),
            )
            place = f"{press.chat_id}:{press.message_id}"
            if isinstance(reply, PressReply) and reply.is_over and place not in self._settled:
                self._settled.append(place)
                await self._web.call(
                    "chat.update",
                    channel=press.chat_id,
                    ts=press.message_id,
                    **settled(message, f"→ {escape(reply)} (<@{press.sender.id}>)"),
                )
