"""Messages: what people, models and tools say to each other.

Values only. A message knows nothing of ids, rows or wire formats: `store` numbers and dates them,
each dialect in `models` writes them in its own JSON. The system prompt is not a message; it travels
beside them (`core.model.ModelRequest.system`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error", "interrupted"]
"""Why an assistant message ended. `interrupted` and `error` are ours, the others are the providers'."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image, either inline (`data`, base64 without prefix) or by `url` (http or https)."""

    media_type: str = "image/png"
    data: str | None = None
    url: str | None = None


Part: TypeAlias = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's request to run a tool.

    Attributes:
        id: The provider's id, or one of ours (`call_…`) if it sent none. Unique within a session.
        name: Tool name as the model wrote it; it may not exist.
        arguments: JSON text exactly as received, so that replays are byte-identical; may be invalid.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class UserMessage:
    """What a person (or a surface on their behalf) said."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, text: str) -> UserMessage:
        """Build a message of one text part."""
        return cls((TextPart(text),))

    @property
    def text(self) -> str:
        """All text parts, joined by newlines."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """What the model said.

    Attributes:
        text: The visible answer, without reasoning.
        tool_calls: Tools it wants run, in order.
        reasoning: Readable reasoning text, if the provider gave any.
        provider_data: Opaque JSON-compatible values that must be echoed to the same provider on
            replay (reasoning details, encrypted reasoning items, signatures), keyed by dialect field.
        finish_reason: Why it ended.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    provider_data: dict[str, Any] | None = field(default=None, hash=False)
    finish_reason: FinishReason = "stop"


@dataclass(frozen=True, slots=True)
class ToolMessage:
    """The result of one tool call, in the words the model reads."""

    tool_call_id: str
    tool_name: str
    text: str
    images: tuple[ImagePart, ...] = ()
    is_error: bool = False


Message: TypeAlias = UserMessage | AssistantMessage | ToolMessage


def unanswered_tool_calls(messages: Sequence[Message]) -> tuple[ToolCall, ...]:
    """Tool calls of the last assistant message that have no result yet (a run was cut off)."""
    answered: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
        elif isinstance(message, AssistantMessage):
            return tuple(call for call in message.tool_calls if call.id not in answered)
        else:
            return ()
    return ()
