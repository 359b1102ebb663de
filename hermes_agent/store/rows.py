"""Messages as rows and back: the one place that knows the columns of `messages`.

Writing keeps to the older agent's columns (`tool_calls` in OpenAI's shape, readable reasoning in
`reasoning`, replay data in `reasoning_content`, `reasoning_details` and the `codex_` columns); what does
not fit goes into `parts` and `provider_data`. Reading accepts whatever older files hold: a value that
cannot be understood is left out, a row that cannot be understood gives None, never an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, get_args

from hermes_agent.core.messages import (
    AssistantMessage,
    FinishReason,
    ImagePart,
    Message,
    Part,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)

Row: TypeAlias = tuple[Any, ...]

COLUMNS: Final = (
    "role",
    "content",
    "tool_call_id",
    "tool_calls",
    "tool_name",
    "finish_reason",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "codex_reasoning_items",
    "codex_message_items",
    "parts",
    "provider_data",
    "is_error",
)
"""What `encode` gives and `decode` takes, in this order."""

SELECT_COLUMNS: Final = ", ".join(COLUMNS)

_JSON_COLUMNS: Final = ("reasoning_details", "codex_reasoning_items", "codex_message_items")
_FINISH_REASONS: Final[frozenset[str]] = frozenset(get_args(FinishReason))
_STRUCTURED_PREFIX: Final = "\x00json:"
_INLINE_IMAGE: Final = "data:"


def encode(message: Message) -> Row:
    """The values of `COLUMNS` for a message."""
    if isinstance(message, UserMessage):
        return _row(role="user", content=clean(message.text), parts=_encode_parts(message.parts))
    if isinstance(message, ToolMessage):
        return _row(
            role="tool",
            content=clean(message.text),
            tool_call_id=clean(message.tool_call_id),
            tool_name=clean(message.tool_name),
            parts=_encode_parts((*_text_part(message.text), *message.images)),
            is_error=1 if message.is_error else None,
        )
    return _row(
        role="assistant",
        content=clean(message.text),
        tool_calls=_dump([_encode_call(call) for call in message.tool_calls]) if message.tool_calls else None,
        finish_reason=message.finish_reason,
        parts=_encode_parts(_text_part(message.text)),
        reasoning=None if message.reasoning is None else clean(message.reasoning),
        **_encode_provider_data(message.provider_data),
    )


def decode(row: Sequence[Any]) -> Message | None:
    """The message of a row of `COLUMNS`; None for rows that are no conversation (system, unknown)."""
    role, content = row[0], row[1]
    if role == "user":
        return UserMessage(_decode_parts(content, row[11]))
    if role == "tool":
        return _decode_tool(row)
    if role == "assistant":
        return _decode_assistant(row)
    return None


def content_text(content: object) -> str:
    """The readable text of a `content` value, also of older structured ones."""
    if not isinstance(content, str):
        return "" if content is None else _as_text(content)
    if not _may_be_structured(content):
        return content
    parts = _parse_structured(content)
    if parts is None:
        return content
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def calls_of(tool_calls: object) -> tuple[ToolCall, ...]:
    """The tool calls of a `tool_calls` value; elements that make no sense are left out."""
    loaded = load_json(tool_calls)
    if isinstance(loaded, dict):
        loaded = [loaded]
    if not isinstance(loaded, list):
        return ()
    return tuple(call for index, item in enumerate(loaded) if (call := _decode_call(item, index)) is not None)


def load_json(value: object) -> Any:
    """The JSON value of a column; None if it is empty or broken."""
    if not isinstance(value, str | bytes) or not value:
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _row(**values: Any) -> Row:
    return tuple(values.get(column) for column in COLUMNS)


def clean(text: str) -> str:
    """The text without lone surrogates, which UTF-8 (and so SQLite) cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _dump(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def _encode_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _decode_call(item: object, index: int) -> ToolCall | None:
    if not isinstance(item, dict):
        return None
    function = item.get("function")
    if not isinstance(function, dict):
        function = item
    name = function.get("name")
    if not isinstance(name, str) or not name:
        return None
    arguments = function.get("arguments", "")
    if not isinstance(arguments, str):
        arguments = _dump(arguments)
    identifier = item.get("id") or item.get("call_id")
    return ToolCall(identifier if isinstance(identifier, str) else f"call_{index}", name, arguments)


def _encode_provider_data(data: dict[str, Any] | None) -> dict[str, str]:
    if data is None:
        return {}
    values: dict[str, str] = {}
    rest: dict[str, Any] = {}
    for key, value in data.items():
        if key == "reasoning_content" and isinstance(value, str) and value == clean(value):
            values[key] = value
        elif key in _JSON_COLUMNS and value is not None:
            values[key] = _dump(value)
        else:
            rest[key] = value
    if rest or not values:
        values["provider_data"] = _dump(rest)
    return values


def _decode_provider_data(row: Sequence[Any]) -> dict[str, Any] | None:
    reasoning_content, details, codex_reasoning, codex_message, rest = *row[7:11], row[12]
    if (reasoning_content, details, codex_reasoning, codex_message, rest) == (None,) * 5:
        return None
    data: dict[str, Any] = {}
    if isinstance(reasoning_content, str):
        data["reasoning_content"] = reasoning_content
    for key, value in zip(_JSON_COLUMNS, (details, codex_reasoning, codex_message), strict=True):
        if (loaded := load_json(value)) is not None:
            data[key] = loaded
    more = load_json(rest)
    if isinstance(more, dict):
        data.update(more)
    return data if data or more == {} else None


def _decode_assistant(row: Sequence[Any]) -> AssistantMessage:
    calls = calls_of(row[3]) if row[3] else ()
    reason = row[5]
    if reason not in _FINISH_REASONS:
        reason = "tool_calls" if calls else "stop"
    reasoning = row[6] if isinstance(row[6], str) else None
    return AssistantMessage(_text_of(row), calls, reasoning, _decode_provider_data(row), reason)


def _decode_tool(row: Sequence[Any]) -> ToolMessage:
    parts = (_load_parts(row[11]) if row[11] else None) or ()
    images = tuple(part for part in parts if isinstance(part, ImagePart))
    return ToolMessage(_as_text(row[2]), _as_text(row[4]), _text_of(row), images, bool(row[13]))


def _text_of(row: Sequence[Any]) -> str:
    """`content`, or what `parts` says it really is."""
    if row[11]:
        for part in _load_parts(row[11]) or ():
            if isinstance(part, TextPart):
                return part.text
    return content_text(row[1])


def _text_part(text: str) -> tuple[TextPart, ...]:
    """The text as a part if `content` cannot hold it so that it is read back the same, else nothing."""
    return (TextPart(text),) if _may_be_structured(text) or text != clean(text) else ()


def _encode_parts(parts: Sequence[Part]) -> str | None:
    """JSON parts, unless `content` alone gives the same back."""
    if not parts or (
        len(parts) == 1 and isinstance(text := parts[0], TextPart) and not _text_part(text.text)
    ):
        return None
    return _dump([_encode_part(part) for part in parts])


def _encode_part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    image: dict[str, Any] = {"type": "image_url", "media_type": part.media_type}
    if part.data is not None:
        image["image_url"] = {"url": f"data:{part.media_type};base64,{part.data}"}
        if part.url is not None:
            image["source_url"] = part.url
    else:
        image["image_url"] = {"url": part.url}
    return image


def _decode_parts(content: object, parts: object) -> tuple[Part, ...]:
    if parts:
        loaded = _load_parts(parts)
        if loaded is not None:
            return loaded
    if isinstance(content, str) and _may_be_structured(content):
        structured = _parse_structured(content)
        if structured is not None:
            return structured
    return (TextPart(_as_text(content)),)


def _may_be_structured(content: str) -> bool:
    return content.startswith(("[{", _STRUCTURED_PREFIX))


def _parse_structured(content: str) -> tuple[Part, ...] | None:
    """Parts that the older agent wrote into `content`; None if it is just text that looks alike."""
    return _load_parts(content.removeprefix(_STRUCTURED_PREFIX))


def _load_parts(value: object) -> tuple[Part, ...] | None:
    loaded = load_json(value)
    if isinstance(loaded, str):
        return (TextPart(loaded),)
    if not isinstance(loaded, list):
        return None
    parts = [_decode_part(item) for item in loaded]
    known = tuple(part for part in parts if part is not None)
    return known if len(known) == len(parts) else None


def _decode_part(item: object) -> Part | None:
    if not isinstance(item, dict):
        return None
    kind = item.get("type")
    if kind in ("text", "input_text", "output_text"):
        text = item.get("text")
        return TextPart(text) if isinstance(text, str) else None
    if kind in ("image_url", "input_image", "image"):
        image = item.get("image_url", item.get("url"))
        url = image.get("url") if isinstance(image, dict) else image
        return _decode_image(item, url)
    return None


def _decode_image(item: dict[str, Any], url: object) -> ImagePart | None:
    media_type = item.get("media_type")
    if isinstance(url, str) and url.startswith(_INLINE_IMAGE) and ";base64," in url:
        head, _, data = url.partition(";base64,")
        source = item.get("source_url")
        named = media_type if isinstance(media_type, str) else head.removeprefix(_INLINE_IMAGE)
        return ImagePart(named or "image/png", data, source if isinstance(source, str) else None)
    if isinstance(url, str) or (url is None and "image_url" in item):
        return ImagePart(media_type if isinstance(media_type, str) else "image/png", None, url)
    return None


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else str(value)
