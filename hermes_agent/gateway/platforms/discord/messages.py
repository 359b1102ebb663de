"""From Discord's messages to `InboundMessage`: who is addressed, which thread, which files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import discord

from hermes_agent.core.platform import Attachment, AttachmentKind, InboundMessage, Person
from hermes_agent.gateway.platforms.discord.settings import DiscordSettings
from hermes_agent.gateway.platforms.outside import whole

NAME = "discord"
_MENTION = re.compile(r"<(?:@[!&]?|#)(\d+)>")
_TEXT_TYPES = frozenset(
    {
        discord.MessageType.default,
        discord.MessageType.reply,
    }
)
_QUOTE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message was written.

    Attributes:
        chat_id: The channel; of a thread, the channel it belongs to.
        thread_id: Empty outside threads.
        is_own_thread: The bot opened the thread.
        can_thread: A thread can be opened from a message here.
    """

    chat_id: int
    thread_id: int = 0
    is_direct: bool = False
    is_own_thread: bool = False
    can_thread: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns messages into `InboundMessage`s.

    Args:
        settings: Who is addressed when.
        bot_id: The bot's own user id.
    """

    settings: DiscordSettings
    bot_id: int

    def is_for_people(self, message: discord.Message) -> bool:
        """Whether somebody wrote it: no system message, nothing of our own, no unknown bot."""
        author = message.author
        if author.id == self.bot_id or message.type not in _TEXT_TYPES:
            return False
        if author.bot or message.webhook_id is not None:
            return str(author.id) in self.settings.allowed_bots
        return True

    def is_ignored(self, place: Place) -> bool:
        """Whether the bot never answers there."""
        ignored = self.settings.ignored_channels
        return str(place.chat_id) in ignored or str(place.thread_id) in ignored

    def place(self, message: discord.Message) -> Place:
        """Where it was written."""
        channel = message.channel
        guild = message.guild
        if guild is None:
            # A server that is not known yet is no direct chat: there only a mention counts.
            return Place(channel.id, is_direct=getattr(channel, "guild_id", None) is None)
        if isinstance(channel, discord.Thread):
            return Place(
                channel.parent_id,
                channel.id,
                is_own_thread=channel.owner_id == self.bot_id,
                name=f"{guild.name} / {channel.name}",
            )
        can_thread = isinstance(channel, discord.TextChannel)
        return Place(
            channel.id,
            can_thread=can_thread,
            name=f"{guild.name} / #{getattr(channel, 'name', channel.id)}",
        )

    def is_free(self, place: Place) -> bool:
        """Whether everything written there is for the bot."""
        free = self.settings.free_response_channels
        listed = {"*", str(place.chat_id), str(place.thread_id)} & set(free)
        own = place.is_own_thread and not self.settings.threads_need_mention
        return place.is_direct or bool(listed) or own or not self.settings.require_mention

    def is_addressed(self, message: discord.Message, place: Place) -> bool:
        """Whether it is for the bot."""
        if place.is_direct or self._is_mentioned(message):
            return True
        # Somebody else is spoken to.
        return self.is_free(place) and not message.mentions

    def opens_thread(self, place: Place) -> bool:
        """Whether an answer to a message there gets a thread of its own."""
        listed = {"*", str(place.chat_id)} & set(self.settings.free_response_channels)
        return self.settings.auto_thread and place.can_thread and not listed

    def read(
        self, message: discord.Message, place: Place, *, is_edit: bool = False, context: str = ""
    ) -> InboundMessage:
        """The message as the gateway takes it."""
        thread_id = place.thread_id
        is_addressed = self.is_addressed(message, place)
        if not thread_id and is_addressed and self.opens_thread(place):
            thread_id = message.id  # the thread that is opened from a message has its id
        reference = message.reference
        quoted = reference.resolved if reference is not None else None
        return InboundMessage(
            platform=NAME,
            chat_id=str(place.chat_id),
            message_id=str(message.id),
            sender=Person(str(message.author.id), whole(message.author.display_name)),
            text=self.text(message),
            chat_type="dm" if place.is_direct else "channel",
            thread_id=str(thread_id or ""),
            chat_name=whole(place.name or message.author.display_name),
            is_addressed=is_addressed,
            reply_to_id=str(reference.message_id or "") if reference is not None else "",
            reply_to_text=(self.text(quoted)[:_QUOTE_LENGTH] if isinstance(quoted, discord.Message) else ""),
            is_edit=is_edit,
            sent_at=message.created_at.timestamp(),
            attachments=tuple(_attachment(each, message) for each in _files(message)),
            context=context,
        )

    def text(self, message: discord.Message) -> str:
        """What it says: without the mention of the bot, others by name."""
        parts = [message.content, *(snapshot.content for snapshot in message.message_snapshots)]
        names = {each.id: f"@{each.display_name}" for each in message.mentions}
        names |= {each.id: f"@{each.name}" for each in message.role_mentions}
        names |= {each.id: f"#{each.name}" for each in message.channel_mentions}
        names |= dict.fromkeys([self.bot_id, *self._own_roles(message)], "")
        text = "\n".join(part for part in parts if part)
        return whole(_MENTION.sub(lambda found: names.get(int(found[1]), found[0]), text)).strip()

    def _is_mentioned(self, message: discord.Message) -> bool:
        if any(each.id == self.bot_id for each in message.mentions) or self._own_roles(message):
            return True
        quoted = message.reference.resolved if message.reference is not None else None
        return isinstance(quoted, discord.Message) and quoted.author.id == self.bot_id

    def _own_roles(self, message: discord.Message) -> list[int]:
        """Mentioned roles that Discord made for this bot: people pick them by mistake."""
        return [
            role.id
            for role in message.role_mentions
            if role.tags is not None and role.tags.bot_id == self.bot_id
        ]


def read_reference(reference: str) -> tuple[str, int, int, int]:
    """Address, channel, message and attachment of `Attachment.reference`. Raises `ValueError`."""
    url, channel_id, message_id, attachment_id = json.loads(reference)
    return str(url), int(channel_id), int(message_id), int(attachment_id)


def _files(message: discord.Message) -> list[discord.Attachment]:
    return [
        *message.attachments,
        *(each for snapshot in message.message_snapshots for each in snapshot.attachments),
    ]


def _attachment(file: discord.Attachment, message: discord.Message) -> Attachment:
    media_type = (file.content_type or "").split(";")[0].strip()
    head = media_type.split("/")[0]
    kind: AttachmentKind = "document"
    if file.is_voice_message():
        kind = "voice"
    elif head in ("image", "audio", "video"):
        kind = head  # type: ignore[assignment]
    # Addresses of files expire after a day; with the ids a fresh one can be had.
    reference = json.dumps([file.url, message.channel.id, message.id, file.id])
    return Attachment(kind, reference, whole(file.filename), media_type, file.size)
