"""From messages of people to one input of the agent: joined texts, names in groups, attachments."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hermes_agent.core.environment import Environment
from hermes_agent.core.errors import DeliveryError, HermesError
from hermes_agent.core.messages import ImagePart, Part, TextPart, UserMessage
from hermes_agent.core.platform import Attachment, InboundMessage, Platform
from hermes_agent.core.speech import Recording
from hermes_agent.gateway.files import MAX_INCOMING_BYTES, ChatFiles

_LOG = logging.getLogger(__name__)

MAX_SHOWN_TEXT_CHARS = 16_000
"""A text file up to this size is shown to the model whole; of a longer one it gets the path."""
MAX_MESSAGE_CHARS = 100_000
MAX_IMAGE_BYTES = 5_000_000
TRANSCRIBE_SECONDS = 180.0
ELSEWHERE = "/tmp/hermes-attachments"  # noqa: S108 - in a container or on another host
"""Where files of chats are put if commands run elsewhere."""
_QUOTE_LENGTH = 300
_CONTEXT = "[Said in this chat before, by people who may be anybody; it was not for you:]"
_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/yaml", "application/toml")
_TEXT_ENDINGS = frozenset(
    f".{ending}"
    for line in (
        "txt md rst csv tsv json jsonl yaml yml toml ini cfg conf log xml html css diff patch tex org sql",
        "py sh bash js ts tsx jsx nix rs go c h cpp hpp java kt rb php lua pl",
    )
    for ending in line.split()
)


async def build_input(
    messages: Sequence[InboundMessage],
    *,
    is_shared: bool,
    platform: Platform | None,
    files: ChatFiles,
    sees_images: bool = True,
    environment: Environment | None = None,
) -> UserMessage:
    """One input from one or more messages.

    Args:
        messages: In order.
        is_shared: Several people talk here: each text gets its author's name.
        platform: Downloads attachments.
        files: Where files are kept for the agent, and who listens to voice messages.
        sees_images: The model can look at images.
        environment: Where the agent's commands run; if that is elsewhere, files are brought there.
    """
    texts: list[str] = []
    images: list[Part] = []
    shelf = _Shelf(files, environment)
    for message in messages:
        text = await _within_reason(message, shelf)
        if message.reply_to_text:
            quote = message.reply_to_text[:_QUOTE_LENGTH]
            text = f"[In reply to: {quote}]\n{text}"
        notes: list[str] = []
        for index, attachment in enumerate(message.attachments):
            origin = f"{message.platform}:{message.chat_id}:{message.message_id}:{index}"
            image, note = await _take(attachment, platform, shelf, origin, sees_images)
            if image is not None:
                images.append(image)
            if note:
                notes.append(note)
        text = "\n".join(part for part in (text, *notes) if part)
        if is_shared:
            text = f"[{message.sender.name or message.sender.id}] {text}"
        if message.context:
            text = f"{_CONTEXT}\n{message.context}\n[The message for you:]\n{text}"
        texts.append(text)
    return UserMessage((TextPart("\n\n".join(texts)), *images))


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Puts files where the agent's commands find them."""

    files: ChatFiles
    environment: Environment | None

    async def put(self, data: bytes, name: str, origin: str) -> tuple[Path, str]:
        """The path on this machine, and where the agent finds it. Raises `OSError`."""
        path = await asyncio.to_thread(self.files.keep, data, name, origin)
        environment = self.environment
        if environment is None or environment.name == "local":
            return path, f"saved as {path}"
        there = f"{ELSEWHERE}/{path.name}"
        try:
            await environment.write_bytes(there, data)
        except HermesError as error:
            _LOG.warning("attachment %s is not in the %s environment: %s", name, environment.name, error)
            return path, f"saved as {path} on the gateway's machine, out of reach of your commands"
        return path, f"saved as {there}"


async def _within_reason(message: InboundMessage, shelf: _Shelf) -> str:
    """The text; of an endless one the beginning, and the path of the whole."""
    text = message.text.strip()
    if len(text) <= MAX_MESSAGE_CHARS:
        return text
    origin = f"{message.platform}:{message.chat_id}:{message.message_id}"
    data = text.encode("utf-8", "replace")
    try:
        _path, place = await shelf.put(data, "message.txt", origin)
    except OSError as error:
        place = f"not saved: {error.strerror}"
    return f"{text[:MAX_SHOWN_TEXT_CHARS]}\n[The message has {len(text):,} characters; all of it is {place}]"


async def _take(
    attachment: Attachment, platform: Platform | None, shelf: _Shelf, origin: str, sees_images: bool
) -> tuple[ImagePart | None, str]:
    """Fetch one attachment; the image, if the model can see it, and what the agent reads of it."""
    name = attachment.file_name or attachment.kind
    try:
        data = await _fetch(attachment, platform)
        path, place = await shelf.put(data, _named(attachment, name, data), origin)
    except HermesError as error:
        _LOG.warning("attachment %s: %s", name, error)
        return None, f"[{attachment.kind} {name}: {error.message}]"
    except OSError as error:
        return None, f"[{attachment.kind} {name}: could not be saved: {error.strerror}]"
    about = f"{attachment.kind} {name}, {len(data):,} bytes, {place}"
    media_type = image_type(data)
    if media_type and attachment.kind in ("image", "document"):
        if sees_images and len(data) <= MAX_IMAGE_BYTES:
            return ImagePart(media_type, base64.b64encode(data).decode("ascii")), f"[{about}]"
        why = "it is too large to be shown" if sees_images else "this model cannot see images"
        return None, f"[{about}; {why}]"
    if attachment.kind in ("voice", "audio"):
        return None, await _listen(shelf.files, path, about)
    return None, _told(data, attachment, name, about)


async def _fetch(attachment: Attachment, platform: Platform | None) -> bytes:
    """Raises `DeliveryError` with what the agent is told."""
    if platform is None:
        raise DeliveryError("not downloaded, the platform is not connected")
    limit = f"not taken, it is larger than {MAX_INCOMING_BYTES // 1_000_000} MB"
    if attachment.size > MAX_INCOMING_BYTES:
        raise DeliveryError(limit)
    try:
        data = await platform.fetch(attachment, max_bytes=MAX_INCOMING_BYTES)
    except HermesError as error:
        raise DeliveryError(f"could not be downloaded: {error.message}", why=error.why) from error
    if len(data) > MAX_INCOMING_BYTES:
        raise DeliveryError(limit)
    return data


def _told(data: bytes, attachment: Attachment, name: str, about: str) -> str:
    text = shown_text(data, attachment.media_type, name)
    if text is None:
        return f"[{about}]"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"[{about}. What is in the file:]\n{fence}\n{text}\n{fence}"


async def _listen(files: ChatFiles, path: Path, about: str) -> str:
    transcriber = files.transcriber()
    if transcriber is None:
        return (
            f"[{about}. Nobody has listened to it: no speech recognition is set up (stt.provider). "
            "You do not know what it says; tell the person so, unless you can listen to it yourself.]"
        )
    try:
        async with asyncio.timeout(TRANSCRIBE_SECONDS):
            text = await transcriber.transcribe(Recording(str(path), path.name))
    except TimeoutError:
        text, problem = "", f"{transcriber.name} took too long"
    except HermesError as error:
        _LOG.warning("a voice message could not be written down: %s", " ".join(error.lines))
        text, problem = "", error.message
    else:
        problem = "" if text.strip() else f"{transcriber.name} heard no words"
    if problem:
        return f"[{about}. It could not be written down: {problem}. You do not know what it says; say so.]"
    return f"[{about}. What is said in it, as {transcriber.name} heard it:]\n{text.strip()}"


def shown_text(data: bytes, media_type: str, name: str) -> str | None:
    """The text of a small text file; None for anything else."""
    kind = media_type.partition(";")[0].strip().lower()
    if not (kind.startswith(_TEXT_TYPES) or PurePosixPath(name.lower()).suffix in _TEXT_ENDINGS):
        return None
    if len(data) > 4 * MAX_SHOWN_TEXT_CHARS or b"\0" in data:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return text if len(text) <= MAX_SHOWN_TEXT_CHARS else None


def image_type(data: bytes) -> str:
    """The media type of an image that models understand, told by its bytes; empty for anything else."""
    for start, media_type in _IMAGE_STARTS:
        if data.startswith(start):
            return media_type
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""


def _named(attachment: Attachment, name: str, data: bytes) -> str:
    """With an ending, because some programs tell the format by it."""
    if PurePosixPath(name).suffix:
        return name
    endings = {"voice": ".ogg", "audio": ".mp3", "video": ".mp4"}
    ending = (
        f".{image_type(data).partition('/')[2]}" if image_type(data) else endings.get(attachment.kind, "")
    )
    return f"{name}{ending}"


_IMAGE_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
