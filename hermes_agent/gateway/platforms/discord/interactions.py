"""Buttons and slash commands: answered within Discord's three seconds."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import discord

from hermes_agent.core.errors import DeliveryError, HermesError, StoreError
from hermes_agent.core.platform import ButtonPress, InboundMessage, Person, PressReply, Receiver
from hermes_agent.gateway.platforms.discord.commands import command_text
from hermes_agent.gateway.platforms.discord.formatting import MAX_TEXT
from hermes_agent.gateway.platforms.discord.rest import Rest
from hermes_agent.gateway.platforms.outside import whole

_LOG = logging.getLogger(__name__)

_VERDICT_LENGTH = 150
_MAX_SETTLED = 200


class Interactions:
    """Takes presses of buttons and slash commands.

    Args:
        name: Of the platform.
        rest: Answers.
        receiver: Decides.
    """

    def __init__(self, name: str, rest: Rest, receiver: Receiver) -> None:
        self._name = name
        self._rest = rest
        self._receiver = receiver
        self._settled: deque[int] = deque(maxlen=_MAX_SETTLED)

    async def take(self, interaction: discord.Interaction[Any]) -> None:
        """Take one."""
        if interaction.type is discord.InteractionType.component:
            await self._press(interaction)
        elif interaction.type is discord.InteractionType.application_command:
            await self._command(interaction)

    async def _press(self, interaction: discord.Interaction[Any]) -> None:
        """Deferred at once: what it decides may take longer than Discord waits."""
        await self._rest.defer(interaction)
        chat_id, thread_id = _place(interaction)
        message = interaction.message
        press = ButtonPress(
            self._name,
            chat_id,
            str(message.id) if message is not None else "",
            Person(str(interaction.user.id), interaction.user.display_name, interaction.user.bot),
            str(_data(interaction).get("custom_id", "")),
            thread_id,
        )
        try:
            text = await self._receiver.pressed(press)
        except HermesError as error:
            text = error.message
        await self._rest.finish(interaction, text or "Done.")
        is_over = isinstance(text, PressReply) and text.is_over
        if is_over and message is not None and message.id not in self._settled:
            self._settled.append(message.id)
            # The question is settled: everybody sees how, and nobody presses in vain.
            shown = f"{message.content[: MAX_TEXT - _VERDICT_LENGTH]}\n\n→ {text} ({press.sender.name})"
            with suppress(DeliveryError):  # it is only for the eye
                await self._rest.settle(message.channel.id, message.id, shown[:MAX_TEXT])

    async def _command(self, interaction: discord.Interaction[Any]) -> None:
        """Answered when it is stored: otherwise the person sees that it failed."""
        chat_id, thread_id = _place(interaction)
        text = whole(command_text(_data(interaction)))
        user = interaction.user
        message = InboundMessage(
            platform=self._name,
            chat_id=chat_id,
            message_id=str(interaction.id),
            sender=Person(str(user.id), user.display_name, user.bot),
            text=text,
            chat_type="dm" if interaction.guild_id is None else "channel",
            thread_id=thread_id,
            chat_name=user.display_name if interaction.guild_id is None else "",
            sent_at=interaction.created_at.timestamp(),
        )
        try:
            await self._receiver.receive(message)
        except StoreError as error:
            await self._rest.respond(interaction, f"❌ {error.message}")
            return
        await self._rest.respond(interaction, f"`{text[:1900]}`")


def _data(interaction: discord.Interaction[Any]) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", interaction.data or {})


def _place(interaction: discord.Interaction[Any]) -> tuple[str, str]:
    """Channel and thread."""
    channel = interaction.channel
    if isinstance(channel, discord.Thread):
        return str(channel.parent_id), str(channel.id)
    return str(interaction.channel_id), ""
