"""Telegram's `Update` objects to messages and presses; pure functions.

Whatever Telegram sends is read with care: an update of an unknown form is skipped, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from hermes_agent.agent.commands import commands_for
from hermes_agent.core.platform import (
    Attachment,
    AttachmentKind,
    ButtonPress,
    ChatType,
    InboundMessage,
    Person,
)

NAME = "telegram"

KINDS = ("message", "edited_message", "channel_post", "edited_channel_post", "callback_query")
"""`allowed_updates`."""

_STANDS_FOR_A_CHAT = frozenset({1087968824, 136817688, 777000})
"""Telegram's own accounts in `from` when a group or channel itself writes."""

_COMMAND = re.compile(r"/([A-Za-z0-9_-]+)(?:@(\w+))?(?=\s|$)")
_GENERAL_TOPIC = "1"
_CUT_LENGTH = 4000
"""Telegram's apps cut a pasted text into messages of about this length."""

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bot:
    """Who we are, and when we listen.

    Attributes:
        listens_to_all: In groups no mention is needed.
        free_chats: Groups in which none is needed.
        allowed_chats: Groups and channels to listen in; empty means all.
    """

    id: int
    username: str
    listens_to_all: bool = False
    free_chats: frozenset[str] = frozenset()
    allowed_chats: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Press:
    """A button press, the query to answer, and the message as it was shown (empty if that is unknown)."""

    query_id: str
    press: ButtonPress
    shown: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """A message, which album it belongs to, and whether its text seems to go on in the next one."""

    message: InboundMessage
    album: str = ""
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class _Note:
    """What a message holds besides text."""

    attachments: tuple[Attachment, ...] = ()
    words: str = field(default="")


def read_update(update: Json, bot: Bot) -> Written | Press | None:
    """What an update says; None if it is of no concern."""
    query = update.get("callback_query")
    if isinstance(query, Mapping):
        return _press(query)
    for kind in KINDS[:-1]:
        message = update.get(kind)
        if isinstance(message, Mapping):
            return _written(message, bot, is_edit=kind.startswith("edited"))
    return None


def join(found: Sequence[Written | Press]) -> list[InboundMessage | Press]:
    """Messages in order; an album, or a text that was cut into several messages, becomes one message."""
    joined: list[InboundMessage | Press] = []
    last: Written | None = None
    for each in found:
        if isinstance(each, Written) and last is not None and _belongs(last, each):
            merged = _merged(last, each)
            joined[-1] = merged.message
            last = merged
            continue
        joined.append(each.message if isinstance(each, Written) else each)
        last = each if isinstance(each, Written) else None
    return joined


def may_go_on(found: Sequence[Written | Press]) -> bool:
    """Whether more of the last message may be on its way."""
    last = found[-1] if found else None
    return isinstance(last, Written) and not last.message.is_edit and bool(last.album or last.is_cut)


def command_names() -> dict[str, str]:
    """Commands as Telegram can show them (no hyphens) to their real names."""
    names = [name for spec in commands_for("gateway") for name in (spec.name, *spec.aliases)]
    return {name.replace("-", "_"): name for name in names if "-" in name}


def thread_of(message: Json) -> str:
    """The forum topic; replies in ordinary groups carry a thread id as well, which means nothing."""
    thread = str(message.get("message_thread_id") or "")
    return thread if message.get("is_topic_message") and thread != _GENERAL_TOPIC else ""


def _press(query: Json) -> Press | None:
    message, sender = query.get("message"), query.get("from")
    if not isinstance(message, Mapping) or not isinstance(sender, Mapping) or not query.get("data"):
        return None
    chat = message.get("chat")
    if not isinstance(chat, Mapping) or "id" not in chat or "id" not in sender:
        return None
    press = ButtonPress(
        NAME,
        str(chat["id"]),
        str(message.get("message_id", "")),
        _person(sender),
        str(query["data"]),
        thread_of(message),
    )
    return Press(str(query.get("id", "")), press, message if message.get("date") else {})


def _written(message: Json, bot: Bot, *, is_edit: bool) -> Written | None:
    chat, message_id = message.get("chat"), message.get("message_id")
    if not isinstance(chat, Mapping) or "id" not in chat or message_id is None:
        return None
    sender = _sender(message)
    chat_type = _chat_type(chat)
    chat_id = str(chat["id"])
    if sender is None or (chat_type != "dm" and bot.allowed_chats and chat_id not in bot.allowed_chats):
        return None
    text, is_meant = _text(message, bot)
    note = _contents(message)
    if is_edit and not text:
        return None  # a live location moved, a poll changed
    origin = _origin(message)
    words = "\n".join(part for part in (origin, text, note.words) if part)
    replied = message.get("reply_to_message")
    if not isinstance(replied, Mapping) or "forum_topic_created" in replied:
        replied = {}
    is_addressed = (
        chat_type == "dm"
        or is_meant is True
        or (is_meant is None and (bot.listens_to_all or chat_id in bot.free_chats))
        or (is_meant is None and _is_from(replied, bot.id))
    )
    return Written(
        InboundMessage(
            platform=NAME,
            chat_id=chat_id,
            message_id=str(message_id),
            sender=sender,
            text=words,
            chat_type=chat_type,
            thread_id=thread_of(message),
            chat_name=str(chat.get("title") or ""),
            is_addressed=is_addressed,
            reply_to_id=str(replied.get("message_id", "")),
            reply_to_text=_quoted(message, replied),
            is_edit=is_edit,
            sent_at=float(message.get("date") or 0),
            attachments=note.attachments,
        ),
        album=str(message.get("media_group_id") or ""),
        is_cut=len(text) >= _CUT_LENGTH,
    )


def _text(message: Json, bot: Bot) -> tuple[str, bool | None]:
    """The text without the mention, and whether the bot is meant: None if the text does not say."""
    field_name = "text" if isinstance(message.get("text"), str) else "caption"
    text = str(message.get(field_name) or "")
    entities = message.get("entities" if field_name == "text" else "caption_entities")
    data = text.encode("utf-16-le", "surrogatepass")
    own = f"@{bot.username}".lower()
    is_meant: bool | None = None
    for entity in reversed(entities if isinstance(entities, list) else []):
        if not isinstance(entity, Mapping):
            continue
        start, length = entity.get("offset"), entity.get("length")
        if not isinstance(start, int) or not isinstance(length, int):
            continue
        piece = data[2 * start : 2 * (start + length)].decode("utf-16-le", "replace")
        user = entity.get("user")
        is_mention = entity.get("type") == "mention" and piece.lower() == own
        is_named = (
            entity.get("type") == "text_mention" and isinstance(user, Mapping) and user.get("id") == bot.id
        )
        if is_mention or is_named:
            is_meant = True
            data = data[: 2 * start] + data[2 * (start + length) :]
    text = data.decode("utf-16-le", "replace")
    if is_meant:
        text = re.sub(r"^[\s,:]+|\s+$|(?<= ) +", "", text) or text.strip()
    return _as_command(text, bot, is_meant)


def _as_command(text: str, bot: Bot, is_meant: bool | None) -> tuple[str, bool | None]:
    match = _COMMAND.match(text)
    if match is None:
        return text, is_meant
    name, target = match[1], match[2]
    if target and target.lower() != bot.username.lower():
        return text, False
    name = command_names().get(name, name)
    if name == "start":  # what Telegram's apps send first
        return "/help", True
    return f"/{name}{text[match.end() :]}", True


def _sender(message: Json) -> Person | None:
    person, chat = message.get("from"), message.get("sender_chat")
    stands_for_chat = not isinstance(person, Mapping) or person.get("id") in _STANDS_FOR_A_CHAT
    if stands_for_chat and isinstance(chat, Mapping) and "id" in chat:
        return Person(str(chat["id"]), str(chat.get("title") or ""))
    return _person(person) if isinstance(person, Mapping) and "id" in person else None


def _person(user: Json) -> Person:
    names = " ".join(str(user[part]) for part in ("first_name", "last_name") if user.get(part))
    return Person(str(user["id"]), names or str(user.get("username") or ""), bool(user.get("is_bot")))


def _chat_type(chat: Json) -> ChatType:
    kind = chat.get("type")
    return "dm" if kind == "private" else "channel" if kind == "channel" else "group"


def _is_from(message: Any, user_id: int) -> bool:
    sender = message.get("from") if isinstance(message, Mapping) else None
    return isinstance(sender, Mapping) and sender.get("id") == user_id


def _quoted(message: Json, replied: Json) -> str:
    quote = message.get("quote")
    if isinstance(quote, Mapping) and quote.get("text"):
        return str(quote["text"])
    return str(replied.get("text") or replied.get("caption") or "")


def _origin(message: Json) -> str:
    origin = message.get("forward_origin")
    if not isinstance(origin, Mapping):
        return ""
    user, chat = origin.get("sender_user"), origin.get("chat") or origin.get("sender_chat")
    name = str(origin.get("sender_user_name") or "")
    if isinstance(user, Mapping) and "id" in user:
        name = _person(user).name
    elif isinstance(chat, Mapping):
        name = str(chat.get("title") or "")
    return f"[Forwarded{f' from {name}' if name else ''}]"


# Files and other contents.

_FILES: tuple[tuple[str, AttachmentKind, str, str], ...] = (
    ("voice", "voice", "voice.ogg", "audio/ogg"),
    ("audio", "audio", "audio.mp3", "audio/mpeg"),
    ("video", "video", "video.mp4", "video/mp4"),
    ("video_note", "video", "video.mp4", "video/mp4"),
    ("animation", "video", "animation.mp4", "video/mp4"),
    ("document", "document", "document", ""),
)


def _contents(message: Json) -> _Note:
    photos = message.get("photo")
    if isinstance(photos, list) and photos and isinstance(photos[-1], Mapping):
        return _Note((_attachment(photos[-1], "image", "photo.jpg", "image/jpeg"),))
    for name, kind, file_name, media_type in _FILES:
        found = message.get(name)
        if isinstance(found, Mapping) and found.get("file_id"):
            attachment = _attachment(found, kind, file_name, media_type)
            if attachment.media_type.startswith("image/"):
                attachment = replace(attachment, kind="image")
            return _Note((attachment,))
    return _Note(words=_other(message))


def _attachment(found: Json, kind: AttachmentKind, file_name: str, media_type: str) -> Attachment:
    size = found.get("file_size")
    return Attachment(
        kind,
        str(found.get("file_id") or ""),
        str(found.get("file_name") or file_name),
        str(found.get("mime_type") or media_type),
        size if isinstance(size, int) else 0,
    )


def _other(message: Json) -> str:
    """Contents without a file, in words."""
    sticker, place, contact, poll, dice = (
        found if isinstance(found := message.get(name), Mapping) else None
        for name in ("sticker", "location", "contact", "poll", "dice")
    )
    if sticker is not None:
        return f"[sticker {sticker.get('emoji') or ''}]".replace(" ]", "]")
    if place is not None:
        venue = message.get("venue")
        title = f"{venue.get('title')}, {venue.get('address')}: " if isinstance(venue, Mapping) else ""
        return f"[location {title}{place.get('latitude')}, {place.get('longitude')}]"
    if contact is not None:
        name = " ".join(str(contact[part]) for part in ("first_name", "last_name") if contact.get(part))
        return f"[contact {name}, {contact.get('phone_number')}]"
    if poll is not None:
        options = poll.get("options")
        texts = [str(each.get("text")) for each in options if isinstance(each, Mapping)] if options else []
        return f"[poll: {poll.get('question')} ({'; '.join(texts)})]"
    return f"[dice {dice.get('value')}]" if dice is not None else ""


# Joining.


def _belongs(last: Written, new: Written) -> bool:
    a, b = last.message, new.message
    if a.address != b.address or a.sender.id != b.sender.id or a.is_edit or b.is_edit:
        return False
    if last.album or new.album:
        return last.album == new.album
    return last.is_cut and not b.text.startswith("/") and not b.attachments and not b.reply_to_id


def _merged(last: Written, new: Written) -> Written:
    a, b = last.message, new.message
    message = replace(
        a,
        text="\n".join(part for part in (a.text, b.text) if part),
        attachments=(*a.attachments, *b.attachments),
        is_addressed=a.is_addressed or b.is_addressed,
    )
    return Written(message, last.album, new.is_cut)
