"""What the three wire dialects have in common: reading JSON bodies, server-sent events, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hermes_agent.core.messages import ImagePart, Part, TextPart
from hermes_agent.core.model import ModelRequest, ToolDefinition
from hermes_agent.models.scripted.answer import Answer, Beat, HttpFailure

CREATED = 1_700_000_000
"""Every answer's time, so that transcripts are the same each time."""


class WireError(ValueError):
    """The request is not of the dialect; answered with 400."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request that was understood.

    Attributes:
        request: Its content.
        model: The model asked for.
        stream: Whether a stream is wanted.
        pieces: The prompt as cached: tools, system prompt, messages, each as JSON text.
        cacheable: How many leading pieces may be cached; None is all.
        wants_usage: Whether a stream should report usage.
    """

    request: ModelRequest
    model: str
    stream: bool
    pieces: Sequence[str]
    cacheable: int | None = None
    wants_usage: bool = True


class Encoder(Protocol):
    """Writes one answer in one dialect."""

    def whole(self) -> Mapping[str, Any]:
        """The body of an answer that is not streamed."""
        ...

    def opening(self) -> Iterator[bytes]:
        """Events before the first beat."""
        ...

    def beat(self, beat: Beat) -> Iterator[bytes]:
        """Events of one beat."""
        ...

    def closing(self) -> Iterator[bytes]:
        """Events after the last beat."""
        ...


class Dialect(Protocol):
    """One wire dialect."""

    def decode(self, body: Mapping[str, Any]) -> Decoded:
        """Understand a request. Raises `WireError`."""
        ...

    def encoder(self, answer: Answer, decoded: Decoded, number: int) -> Encoder:
        """Prepare to write an answer."""
        ...

    def error(self, failure: HttpFailure) -> Mapping[str, Any]:
        """The body of an error."""
        ...


def to_json(value: object) -> str:
    """Compact JSON; keys stay in the order in which they came."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def sse(data: Mapping[str, Any], event: str | None = None) -> bytes:
    """One server-sent event."""
    text = to_json(data).encode("utf-8", errors="replace")
    return (b"event: " + event.encode() + b"\n" if event else b"") + b"data: " + text + b"\n\n"


def fail_unless(holds: bool, message: str) -> None:
    """Raise `WireError` if something does not hold."""
    if not holds:
        raise WireError(message)


def text_of(value: object, where: str) -> str:
    """A text that may be absent.

    Raises:
        WireError: It is something else.
    """
    fail_unless(value is None or isinstance(value, str), f"{where} must be a string")
    return value if isinstance(value, str) else ""


def list_of(value: object, where: str) -> list[Mapping[str, Any]]:
    """A list of objects that may be absent.

    Raises:
        WireError: It is something else.
    """
    if value is None:
        return []
    fail_unless(isinstance(value, list), f"{where} must be a list")
    assert isinstance(value, list)
    fail_unless(all(isinstance(item, dict) for item in value), f"{where} must hold objects")
    return value


def object_of(value: object, where: str) -> Mapping[str, Any]:
    """An object that may be absent.

    Raises:
        WireError: It is something else.
    """
    fail_unless(value is None or isinstance(value, dict), f"{where} must be an object")
    return value if isinstance(value, dict) else {}


def model_and_stream(body: Mapping[str, Any]) -> tuple[str, bool]:
    """The model's name and whether a stream is wanted.

    Raises:
        WireError: The name is missing.
    """
    model = body.get("model")
    fail_unless(isinstance(model, str) and bool(model), "model is required")
    assert isinstance(model, str)
    return model, body.get("stream") is True


def image(url: str) -> ImagePart:
    """An image part of a URL or a data URL."""
    if url.startswith("data:"):
        head, _, data = url.removeprefix("data:").partition(",")
        return ImagePart(head.split(";")[0] or "image/png", data=data)
    return ImagePart(url=url)


def parts_of(content: object, where: str) -> tuple[Part, ...]:
    """The parts of a message's content: a string, or a list of text and image blocks.

    Raises:
        WireError: It is something else.
    """
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    parts: list[Part] = []
    for block in list_of(content, where):
        kind = block.get("type")
        if kind in ("text", "input_text", "output_text"):
            parts.append(TextPart(text_of(block.get("text"), f"{where}.text")))
        elif kind in ("image_url", "input_image"):
            url = block.get("image_url")
            url = url.get("url") if isinstance(url, dict) else url
            parts.append(image(text_of(url, f"{where}.image_url")))
        elif kind == "image":
            source = object_of(block.get("source"), f"{where}.source")
            kind_of_image = text_of(source.get("media_type"), "media_type") or "image/png"
            data, url = (text_of(source.get(key), key) or None for key in ("data", "url"))
            parts.append(ImagePart(kind_of_image, data=data, url=url))
        elif kind == "refusal":
            parts.append(TextPart(text_of(block.get("refusal"), f"{where}.refusal")))
    return tuple(parts)


def joined(parts: Sequence[Part]) -> str:
    """The text parts, joined by newlines."""
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def tool(name: object, description: object, parameters: object) -> ToolDefinition:
    """A tool on offer.

    Raises:
        WireError: Its name is missing or its schema is no object.
    """
    fail_unless(isinstance(name, str) and bool(name), "every tool needs a name")
    assert isinstance(name, str)
    fail_unless(
        parameters is None or isinstance(parameters, dict), f"parameters of tool {name!r} must be an object"
    )
    schema = parameters if isinstance(parameters, dict) else {"type": "object", "properties": {}}
    return ToolDefinition(name, text_of(description, f"description of tool {name!r}"), schema)


def session_of(body: Mapping[str, Any]) -> str:
    """The session a request belongs to, if it says so."""
    metadata = body.get("metadata")
    named = body.get("prompt_cache_key") or body.get("user")
    if not named and isinstance(metadata, dict):
        named = metadata.get("user_id") or metadata.get("session_id")
    return named if isinstance(named, str) else ""
