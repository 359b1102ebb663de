"""What an event of a room says. Pure: takes the JSON of events, which anybody may have written."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hermes_agent.core.platform import Attachment, AttachmentKind

_LOG = logging.getLogger(__name__)

Json: TypeAlias = Mapping[str, Any]

_FILES: dict[str, AttachmentKind] = {
    "m.image": "image",
    "m.video": "video",
    "m.audio": "audio",
    "m.file": "document",
}
_TEXTS = frozenset({"m.text", "m.emote"})
MAX_TEXT = 60_000


@dataclass(frozen=True, slots=True)
class Said:
    """One message.

    Attributes:
        event_id: Of the message; of the original if this is an edit.
        mentions: User ids it calls.
    """

    event_id: str
    sender: str
    text: str
    thread_id: str = ""
    reply_to_id: str = ""
    reply_to_text: str = ""
    is_edit: bool = False
    sent_at: float = 0.0
    mentions: frozenset[str] = frozenset()
    attachments: tuple[Attachment, ...] = field(default=())


def read_event(event: Json) -> Said | None:
    """What an event says; None if it is no message of a person (notices are how machines speak)."""
    content = event.get("content")
    sender, event_id = event.get("sender"), event.get("event_id")
    if event.get("type") != "m.room.message" or not isinstance(content, Mapping):
        return None
    if not isinstance(sender, str) or not isinstance(event_id, str):
        return None
    related = _mapping(content.get("m.relates_to"))
    is_edit = related.get("rel_type") == "m.replace"
    if is_edit:
        new = content.get("m.new_content")
        event_id = related.get("event_id")
        if not isinstance(new, Mapping) or not isinstance(event_id, str):
            return None
        related = _mapping(new.get("m.relates_to"))
        content = new
    kind = _word(content.get("msgtype"))
    attachment = _attachment(content) if kind in _FILES else None
    if kind not in _TEXTS and kind != "m.location" and attachment is None:
        return None
    in_reply_to = _mapping(related.get("m.in_reply_to")).get("event_id")
    is_thread = related.get("rel_type") == "m.thread"
    is_real_reply = isinstance(in_reply_to, str) and not (is_thread and related.get("is_falling_back"))
    text, quote = _body(content, attachment, is_reply=isinstance(in_reply_to, str))
    if kind == "m.emote" and text:
        text = f"* {text}"
    return Said(
        event_id=event_id,
        sender=sender,
        text=text[:MAX_TEXT],
        thread_id=_word(related.get("event_id")) if is_thread else "",
        reply_to_id=str(in_reply_to) if is_real_reply else "",
        reply_to_text=quote if is_real_reply else "",
        is_edit=is_edit,
        sent_at=_seconds(event.get("origin_server_ts")),
        mentions=_mentions(content),
        attachments=(attachment,) if attachment is not None and not is_edit else (),
    )


def without_mention(text: str, names: tuple[str, ...]) -> tuple[str, bool]:
    """The text without the bot's name in front, and whether it was there.

    Args:
        text: What somebody wrote.
        names: User id and display name.
    """
    for name in names:
        match = (
            re.match(rf"\s*@?{re.escape(name)}(?=$|[\s:,;!?])[:,;]?\s*", text, re.IGNORECASE)
            if name
            else None
        )
        if match:
            return text[match.end() :], True
    return text, False


def _body(content: Json, attachment: Attachment | None, *, is_reply: bool) -> tuple[str, str]:
    """Text and quoted text. The body of a file is its name, unless there is a name besides."""
    body = content.get("body")
    if not isinstance(body, str):
        return "", ""
    if attachment is not None:
        name = content.get("filename")
        return (body, "") if isinstance(name, str) and name and name != body else ("", "")
    if not is_reply or not body.startswith("> "):
        return body, ""
    quoted, _, rest = body.partition("\n\n")  # how older clients show what is answered
    if not all(line.startswith(">") for line in quoted.split("\n")):
        return body, ""
    quote = "\n".join(line[1:].strip() for line in quoted.split("\n"))
    return rest, re.sub(r"^(\* )?<@[^>]*>\s?", "", quote)


def _mentions(content: Json) -> frozenset[str]:
    named = _mapping(content.get("m.mentions")).get("user_ids")
    found = {each for each in named if isinstance(each, str)} if isinstance(named, list) else set()
    formatted = content.get("formatted_body")
    if "m.mentions" not in content and isinstance(formatted, str):  # older clients
        found |= set(
            re.findall(
                r"https://matrix\.to/#/(@[^\"'/?]+)", formatted.replace("%40", "@").replace("%3A", ":")
            )
        )
    return frozenset(found)


def _attachment(content: Json) -> Attachment | None:
    encrypted = _mapping(content.get("file"))
    url = encrypted.get("url") or content.get("url")
    if not isinstance(url, str) or not url.startswith("mxc://"):
        return None
    info = _mapping(content.get("info"))
    name = content.get("filename") or content.get("body")
    media_type, size = info.get("mimetype"), info.get("size")
    kind = _FILES[content["msgtype"]]
    if kind == "audio" and "org.matrix.msc3245.voice" in content:
        kind = "voice"
    reference: dict[str, Any] = {"url": url}
    if encrypted:
        reference |= {
            "key": _mapping(encrypted.get("key")).get("k"),
            "iv": encrypted.get("iv"),
            "hash": _mapping(encrypted.get("hashes")).get("sha256"),
        }
    return Attachment(
        kind,
        json.dumps(reference),
        str(name or "")[:200],
        media_type if isinstance(media_type, str) else "",
        size if isinstance(size, int) and size > 0 else 0,
    )


def read_anyhow(event: Json) -> Said | None:
    """As `read_event`; one that defeats it is left out: it must not stop those behind it."""
    try:
        return read_event(event)
    except Exception:  # noqa: BLE001 - whatever it is, it would come back with each sync
        _LOG.exception("an event cannot be read")
        return None


def since_invitation(events: Sequence[Json], user_id: str) -> Sequence[Json]:
    """In a room that somebody has just joined: what was said since they were invited, not its history."""
    begin = 0
    for index, event in enumerate(events):
        if event.get("type") != "m.room.member" or event.get("state_key") != user_id:
            continue
        now = _mapping(event.get("content")).get("membership")
        before = _mapping(_mapping(event.get("unsigned")).get("prev_content")).get("membership")
        if now == "invite" or (now == "join" and before not in ("join", "invite")):
            begin = index + 1
    return events[begin:]


def happened_at(event: Json) -> float:
    """Unix time of an event, by the server's clock; 0 if it does not tell."""
    return _seconds(event.get("origin_server_ts"))


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _seconds(value: object) -> float:
    return value / 1000 if isinstance(value, int | float) and abs(value) < 1e15 else 0.0
