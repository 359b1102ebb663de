"""Markdown as the content of a Matrix event: a text, and the HTML that clients show."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias

from markdown_it import MarkdownIt

from hermes_agent.core.platform import OutgoingFile

Content: TypeAlias = dict[str, Any]

_KINDS = {"image": "m.image", "video": "m.video", "voice": "m.audio", "audio": "m.audio"}
_MOST_BYTES = 40_000
"""Of the content in JSON. An event may have 65,536, of which encryption takes a third."""
_USER = re.compile(r"(?<![\w/=:.-])@[a-z0-9._=/+-]{1,200}:[A-Za-z0-9.-]{1,200}(?::\d{1,5})?")


def text_content(markdown: str, *, is_notice: bool = False) -> Content:
    """An `m.room.message` for a text."""
    body = encodable(markdown)
    content: Content = {"msgtype": "m.notice" if is_notice else "m.text", "body": body}
    formatted = to_html(body)
    if formatted != f"<p>{html.escape(body, quote=False)}</p>":
        content |= {"format": "org.matrix.custom.html", "formatted_body": formatted}
    # Nobody is called by an answer but those it names (and clients without this guess from the text).
    content["m.mentions"] = _mentions(body)
    if len(json.dumps(content, ensure_ascii=False).encode()) > _MOST_BYTES:
        content.pop("formatted_body", None)
        content.pop("format", None)
    return content


def edit_content(event_id: str, markdown: str, *, is_notice: bool = False) -> Content:
    """An `m.room.message` that replaces the text of an earlier one."""
    new = text_content(markdown, is_notice=is_notice)
    return {
        "msgtype": new["msgtype"],
        "body": f"* {new['body'][:200]}",  # for clients that know no edits
        "m.mentions": {},  # the first version has called people already
        "m.new_content": new,
        "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
    }


def file_content(
    file: OutgoingFile, name: str, media_type: str, size: int, url: str, keys: Mapping[str, Any] | None
) -> Content:
    """An `m.room.message` for an uploaded file.

    Args:
        file: What it is.
        name: What it is called.
        media_type: Of the content.
        size: Bytes.
        url: Where it was uploaded to.
        keys: How to read it, if it was encrypted.
    """
    content: Content = {
        "msgtype": _KINDS.get(file.kind, "m.file"),
        "body": encodable(file.caption) or name,
        "filename": name,
        "info": {"mimetype": media_type, "size": size},
        "m.mentions": {},
    }
    if file.kind == "voice":
        content["org.matrix.msc3245.voice"] = {}
    return {**content, "file": {**keys, "url": url}} if keys else {**content, "url": url}


def relation(thread_id: str, reply_to_id: str) -> Mapping[str, Any]:
    """`m.relates_to` of an answer; empty if it belongs to nothing."""
    if thread_id:
        return {
            "rel_type": "m.thread",
            "event_id": thread_id,
            "is_falling_back": not reply_to_id or reply_to_id == thread_id,
            "m.in_reply_to": {"event_id": reply_to_id or thread_id},
        }
    return {"m.in_reply_to": {"event_id": reply_to_id}} if reply_to_id else {}


def to_html(markdown: str) -> str:
    """What clients show; raw HTML of an answer is shown, not obeyed."""
    rendered: str = _renderer().render(markdown)
    return rendered.strip()


def encodable(text: str) -> str:
    """Without what JSON in UTF-8 cannot carry."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _mentions(text: str) -> Content:
    found = sorted(set(_USER.findall(re.sub(r"```.*?```|`[^`\n]*`", " ", text, flags=re.DOTALL))))
    return {"user_ids": found[:20]} if found else {}


@cache
def _renderer() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    made.disable("image")  # clients show pictures of their own server only
    return made
