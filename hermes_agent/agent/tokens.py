"""Estimating tokens where no provider has counted them yet."""

from __future__ import annotations

from collections.abc import Iterable

from hermes_agent.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    TextPart,
    ToolMessage,
    UserMessage,
)

CHARS_PER_TOKEN = 4
"""The usual rule of thumb for English text and code; other scripts count by their UTF-8 length."""
MESSAGE_OVERHEAD = 8
IMAGE_TOKENS = 1_000


def estimate_text(text: str) -> int:
    """Tokens of a text, about."""
    length = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-length // CHARS_PER_TOKEN)


def estimate_message(message: Message) -> int:
    """Tokens of one message, about."""
    total = MESSAGE_OVERHEAD
    if isinstance(message, UserMessage):
        if len(message.parts) == 1 and type(part := message.parts[0]) is TextPart:
            return total + estimate_text(part.text)
        for part in message.parts:
            total += estimate_text(part.text) if isinstance(part, TextPart) else IMAGE_TOKENS
    elif isinstance(message, AssistantMessage):
        total += estimate_text(message.text)
        total += sum(
            estimate_text(call.name) + estimate_text(call.arguments) + 8 for call in message.tool_calls
        )
    elif isinstance(message, ToolMessage):
        total += estimate_text(message.text) + sum(
            IMAGE_TOKENS for image in message.images if isinstance(image, ImagePart)
        )
    return total


def estimate(messages: Iterable[Message]) -> int:
    """Tokens of several messages, about."""
    return sum(map(estimate_message, messages))
