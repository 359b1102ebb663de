"""Contents of messages: from clients' JSON to parts."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

from hermes_agent.api.errors import ApiError, bad_request
from hermes_agent.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    Part,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)

_DATA_URL: Final = re.compile(r"data:(image/[\w.+-]+);base64,", re.IGNORECASE)
_TEXTS: Final = frozenset({"text", "input_text", "output_text", "refusal", "summary_text"})
_IMAGES: Final = frozenset({"image_url", "input_image"})
_FILES: Final = frozenset({"file", "input_file", "input_audio", "audio", "input_video", "video_url"})


class MessageCache:
    """Gives equal messages of clients as one object.

    Clients without a session send their whole conversation each time; what dialects encoded for a
    message once, they find again by its identity.
    """

    def __init__(self, max_chars: int = 4_000_000) -> None:
        self._max_chars = max_chars
        self._chars = 0
        self._known: dict[tuple[bool, str], Message] = {}

    def get(self, text: str, *, is_user: bool) -> Message:
        """The message of one text."""
        key = (is_user, text)
        found = self._known.get(key)
        if found is None:
            self._chars += len(text) + 100
            if self._chars > self._max_chars:
                self._known.clear()
                self._chars = len(text)
            found = UserMessage.of(text) if is_user else AssistantMessage(text)
            self._known[key] = found
        return found


def read_messages(value: Any, param: str, cache: MessageCache) -> tuple[list[Message], list[str]]:
    """A conversation, and the texts of its system messages.

    Raises:
        ApiError: 400; `param` names the place.
    """
    if not isinstance(value, list):
        raise bad_request(f"{param} must be a list", param)
    messages: list[Message] = []
    instructions: list[str] = []
    names: dict[str, str] = {}
    for index, item in enumerate(value):
        read = read_message(item, f"{param}[{index}]", names, cache)
        if isinstance(read, str):
            instructions.append(read)
        else:
            messages.append(read)
    return messages, instructions


def read_message(item: Any, where: str, names: dict[str, str], cache: MessageCache) -> Message | str:
    """One message, or the text of a system message.

    Args:
        item: As the client sent it.
        where: Its place, for errors.
        names: Tool calls so far, id to tool; those of this message are added.
        cache: Gives equal messages as one object.

    Raises:
        ApiError: 400, it is none.
    """
    if not isinstance(item, dict):
        raise bad_request(f"{where} must be an object", where)
    role, content = item.get("role"), item.get("content")
    if type(content) is str:
        if role == "user":
            return cache.get(content, is_user=True)
        if role == "assistant" and "tool_calls" not in item:
            return cache.get(content, is_user=False)
    return _read_message(item, where, names)


def _read_message(item: dict[str, Any], where: str, names: dict[str, str]) -> Message | str:
    role, content = item.get("role"), item.get("content")
    if role in ("system", "developer"):
        return _text(content, f"{where}.content")
    if role == "user":
        parts = read_parts(content, f"{where}.content")
        if not parts:
            raise bad_request("A user message needs content", f"{where}.content")
        return UserMessage(parts)
    if role == "assistant":
        calls = _calls(item.get("tool_calls"), f"{where}.tool_calls")
        names.update((call.id, call.name) for call in calls)
        text = "" if content is None else _text(content, f"{where}.content")
        return AssistantMessage(text, calls, finish_reason="tool_calls" if calls else "stop")
    if role in ("tool", "function"):
        call_id = item.get("tool_call_id") or item.get("name")
        if not isinstance(call_id, str):
            raise bad_request("A tool message needs tool_call_id", f"{where}.tool_call_id")
        name = names.get(call_id) or str(item.get("name") or "tool")
        return ToolMessage(call_id, name, _text(content, f"{where}.content"))
    raise bad_request(
        f"Unknown role {str(role)[:40]!r}: use system, developer, user, assistant or tool", f"{where}.role"
    )


def _calls(value: Any, where: str) -> tuple[ToolCall, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise bad_request("tool_calls must be a list", where)
    calls: list[ToolCall] = []
    for index, item in enumerate(value):
        function = item.get("function") if isinstance(item, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise bad_request("A tool call needs id and function.name", f"{where}[{index}]")
        arguments = function.get("arguments")
        calls.append(
            ToolCall(
                str(item.get("id") or f"call_{index}"),
                function["name"],
                arguments if isinstance(arguments, str) else "{}",
            )
        )
    return tuple(calls)


def _text(content: Any, where: str) -> str:
    """Content that may be text only."""
    texts: list[str] = []
    for part in read_parts(content, where):
        if not isinstance(part, TextPart):
            raise bad_request("Only user messages may have images", where)
        texts.append(part.text)
    return "\n".join(texts)


def read_parts(content: Any, where: str) -> tuple[Part, ...]:
    """Parts of a message: a text, or a list of texts and images. None gives none.

    Raises:
        ApiError: 400, something else.
    """
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    if not isinstance(content, list):
        raise bad_request("content must be a text or a list of parts", where)
    return tuple(_part(part, f"{where}[{index}]") for index, part in enumerate(content))


def _part(part: Any, where: str) -> Part:
    if isinstance(part, str):
        return TextPart(part)
    if not isinstance(part, dict):
        raise bad_request("A content part must be an object", where)
    kind = part.get("type")
    if not isinstance(kind, str):
        raise bad_request("A content part needs type", f"{where}.type")
    if kind in _TEXTS:
        text = part.get("text", part.get("refusal"))
        if not isinstance(text, str):
            raise bad_request("A text part needs text", f"{where}.text")
        return TextPart(text)
    if kind in _IMAGES:
        return _image(part.get("image_url"), where)
    if kind in _FILES:
        raise ApiError(
            400,
            f"Content of type {kind!r} is not taken; send text and images",
            code="unsupported_content_type",
            param=where,
        )
    raise bad_request(f"Unknown content type {kind[:40]!r}", f"{where}.type", code="unsupported_content_type")


def _image(value: Any, where: str) -> ImagePart:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        raise bad_request("An image needs image_url", f"{where}.image_url")
    if url.lower().startswith(("http://", "https://")):
        return ImagePart(url=url)
    match = _DATA_URL.match(url)
    if match is None:
        raise bad_request(
            "An image must be an http(s) URL or data:image/…;base64,…",
            f"{where}.image_url",
            code="unsupported_content_type",
        )
    data = url[match.end() :]
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(
            "The image is not valid base64", f"{where}.image_url", code="invalid_image"
        ) from None
    if not data:
        raise bad_request("The image is empty", f"{where}.image_url", code="invalid_image")
    return ImagePart(media_type=match[1].lower(), data=data)
