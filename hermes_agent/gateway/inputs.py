"""From messages of people to one input of the agent: joined texts, names in groups, attachments."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path

from hermes_agent.core.errors import HermesError
from hermes_agent.core.messages import ImagePart, Part, TextPart, UserMessage
from hermes_agent.core.platform import Attachment, InboundMessage, Platform

_LOG = logging.getLogger(__name__)

MAX_ATTACHMENT_BYTES = 20_000_000
_QUOTE_LENGTH = 300
_UNSAFE = re.compile(r"[^\w.\-]+")


async def build_input(
    messages: Sequence[InboundMessage],
    *,
    is_shared: bool,
    platform: Platform | None,
    directory: Path,
) -> UserMessage:
    """One input from one or more messages.

    Args:
        messages: In order.
        is_shared: Several people talk here: each text gets its author's name.
        platform: Downloads attachments.
        directory: Where files that are no images are kept for the agent.
    """
    texts: list[str] = []
    images: list[Part] = []
    for message in messages:
        text = message.text.strip()
        if message.reply_to_text:
            quote = message.reply_to_text[:_QUOTE_LENGTH]
            text = f"[In reply to: {quote}]\n{text}"
        notes: list[str] = []
        for attachment in message.attachments:
            image, note = await _take(attachment, platform, directory)
            if image is not None:
                images.append(image)
            if note:
                notes.append(note)
        text = "\n".join(part for part in (text, *notes) if part)
        if is_shared:
            text = f"[{message.sender.name or message.sender.id}] {text}"
        texts.append(text)
    return UserMessage((TextPart("\n\n".join(texts)), *images))


async def _take(
    attachment: Attachment, platform: Platform | None, directory: Path
) -> tuple[ImagePart | None, str]:
    name = attachment.file_name or attachment.kind
    if platform is None:
        return None, f"[{attachment.kind} {name}: not downloaded, the platform is not connected]"
    try:
        data = await platform.fetch(attachment, max_bytes=MAX_ATTACHMENT_BYTES)
    except HermesError as error:
        _LOG.warning("attachment %s: %s", name, error)
        return None, f"[{attachment.kind} {name}: could not be downloaded: {error.message}]"
    if attachment.kind == "image" and attachment.media_type in _IMAGE_TYPES:
        return ImagePart(attachment.media_type, base64.b64encode(data).decode("ascii")), ""
    path = directory / f"{time.time_ns():x}-{_UNSAFE.sub('_', name)[-80:]}"
    try:
        await asyncio.to_thread(_save, path, data)
    except OSError as error:
        return None, f"[{attachment.kind} {name}: could not be saved: {error.strerror}]"
    return None, f"[{attachment.kind} {name}, {len(data):,} bytes, saved as {path}]"


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(data)


_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
