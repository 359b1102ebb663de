"""From Slack's events to `InboundMessage`: who is addressed, which thread, which files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hermes_agent.agent.commands import find
from hermes_agent.core.errors import UsageError
from hermes_agent.core.platform import Attachment, AttachmentKind, ChatType, InboundMessage, Person
from hermes_agent.gateway.platforms.outside import whole
from hermes_agent.gateway.platforms.slack.formatting import from_slack
from hermes_agent.gateway.platforms.slack.people import mentioned
from hermes_agent.gateway.platforms.slack.settings import SlackSettings

NAME = "slack"
_SUBTYPES = frozenset({"", "file_share", "thread_broadcast", "me_message", "bot_message"})
_SLACKBOT = "USLACKBOT"
_COMMAND = re.compile(r"!([A-Za-z][\w-]*)(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message was written. `thread` is empty outside threads."""

    channel: str
    kind: ChatType
    ts: str
    thread: str = ""

    @property
    def is_direct(self) -> bool:
        """A direct chat with the bot."""
        return self.kind == "dm"


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns events into `InboundMessage`s.

    Attributes:
        settings: Who is addressed when.
        user_id: The bot's user id (`U…`).
        bot_id: Its bot id (`B…`).
        name_of: The name of a user id.
    """

    settings: SlackSettings
    user_id: str
    bot_id: str
    name_of: Callable[[str], str]

    def is_for_people(self, event: Mapping[str, Any]) -> bool:
        """Whether somebody wrote it: nothing of Slack's or our own, of no unknown bot."""
        if str(event.get("subtype") or "") not in _SUBTYPES:
            return False
        author, bot = str(event.get("user") or ""), str(event.get("bot_id") or "")
        if author in (self.user_id, _SLACKBOT) or (bot and bot == self.bot_id):
            return False
        if bot:
            return bool({author, bot} & set(self.settings.allowed_bots))
        return bool(author)

    def place(self, event: Mapping[str, Any]) -> Place:
        """Where it was written. Raises `KeyError` if it does not say."""
        channel, ts = str(event["channel"]), str(event["ts"])
        kind = str(event.get("channel_type") or "")
        if kind == "im" or (not kind and channel.startswith("D")):
            chat_type: ChatType = "dm"
        else:
            chat_type = "group" if kind == "mpim" else "channel"
        return Place(channel, chat_type, ts, str(event.get("thread_ts") or ""))

    def is_ignored(self, place: Place) -> bool:
        """Whether the bot never answers there."""
        return place.channel in self.settings.ignored_channels

    def is_mentioned(self, event: Mapping[str, Any]) -> bool:
        """Whether the bot is named."""
        return event.get("type") == "app_mention" or self.user_id in mentioned(str(event.get("text") or ""))

    def is_free(self, place: Place) -> bool:
        """Whether everything written there is for the bot (threads it takes part in apart)."""
        listed = {"*", place.channel} & set(self.settings.free_response_channels)
        return place.is_direct or bool(listed) or not self.settings.require_mention

    def speaks_to_others(self, event: Mapping[str, Any]) -> bool:
        """Whether somebody else is named."""
        return any(each != self.user_id for each in mentioned(str(event.get("text") or "")))

    def thread_for(self, place: Place) -> str:
        """The thread in which an answer goes."""
        if place.thread or place.is_direct or not self.settings.reply_in_thread:
            return place.thread
        return place.ts

    def text(self, event: Mapping[str, Any]) -> str:
        """What it says, without the mention of the bot."""
        names = {self.user_id: ""}
        text = from_slack(
            whole(str(event.get("text") or "")),
            lambda user: names.get(user, f"@{self.name_of(user)}"),
        )
        return as_command(text)

    def read(
        self,
        event: Mapping[str, Any],
        place: Place,
        *,
        is_addressed: bool,
        is_edit: bool = False,
        context: str = "",
    ) -> InboundMessage:
        """The message as the gateway takes it."""
        author = str(event.get("user") or event.get("bot_id") or "")
        return InboundMessage(
            platform=NAME,
            chat_id=place.channel,
            message_id=place.ts,
            sender=Person(author, self.name_of(author)),
            text=self.text(event),
            chat_type=place.kind,
            thread_id=self.thread_for(place) if is_addressed else place.thread,
            chat_name=self.name_of(author) if place.is_direct else place.channel,
            is_addressed=is_addressed,
            is_edit=is_edit,
            sent_at=float(place.ts),
            attachments=tuple(_attachment(each) for each in event.get("files") or () if _is_kept(each)),
            context=context,
        )


def as_command(text: str) -> str:
    """`!status` is `/status`: in threads Slack takes no slash commands."""
    found = _COMMAND.match(text)
    if found is not None:
        try:
            find(found[1].lower(), "gateway")
        except UsageError:
            return text
        return f"/{text[1:]}"
    return text


def read_reference(reference: str) -> tuple[str, str]:
    """Id and address of `Attachment.reference`. Raises `ValueError`."""
    file_id, url = json.loads(reference)
    return str(file_id), str(url)


def file_address(file: Mapping[str, Any]) -> str:
    """Where the bytes are; empty if Slack does not say."""
    return str(file.get("url_private_download") or file.get("url_private") or "")


def _is_kept(file: Any) -> bool:
    return (
        isinstance(file, dict) and bool(file.get("id")) and file.get("mode") not in ("tombstone", "external")
    )


def _attachment(file: Mapping[str, Any]) -> Attachment:
    media_type = str(file.get("mimetype") or "")
    head = media_type.split("/", maxsplit=1)[0]
    kind: AttachmentKind = "document"
    if file.get("subtype") == "slack_audio":
        kind = "voice"
    elif head in ("image", "audio", "video"):
        kind = head  # type: ignore[assignment]
    return Attachment(
        kind,
        json.dumps([file["id"], file_address(file)]),
        whole(str(file.get("name") or file.get("title") or "")),
        media_type,
        int(file.get("size") or 0),
    )
