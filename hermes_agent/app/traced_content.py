"""What was said, as the conventions for generative AI write it into attributes of a span."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from hermes_agent.core.messages import AssistantMessage, Message, TextPart, ToolMessage, UserMessage
from hermes_agent.core.model import ModelRequest

AGENT: Final = "hermes-agent"
_MOST_CHARS: Final = 32_000

Redact = Callable[[str], str]


def of_request(request: ModelRequest, redact: Redact) -> dict[str, str]:
    """The prompt, and what was said since the model's last word: the rest is in earlier spans."""
    news: list[Message] = []
    for message in reversed(request.messages):
        if isinstance(message, AssistantMessage):
            break
        news.append(message)
    return {
        "gen_ai.system_instructions": _dumps([{"type": "text", "content": cut(request.system)}], redact),
        "gen_ai.input.messages": _dumps([_message(message) for message in reversed(news)], redact),
    }


def of_reply(message: AssistantMessage, redact: Redact) -> dict[str, str]:
    """What the model answered."""
    return {"gen_ai.output.messages": _dumps([_message(message)], redact)}


def of_text(text: str, redact: Redact) -> dict[str, str]:
    """The answer of a run."""
    return of_reply(AssistantMessage(text), redact)


def cut(text: str) -> str:
    """At most so much that collectors take it."""
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}… [{len(text) - _MOST_CHARS} more]"


def _dumps(value: Any, redact: Redact) -> str:
    return redact(json.dumps(value, ensure_ascii=False))


def _message(message: Message) -> dict[str, Any]:
    if isinstance(message, UserMessage):
        return {
            "role": "user",
            "parts": [
                {"type": "text", "content": cut(part.text)}
                if isinstance(part, TextPart)
                else {"type": "uri" if part.url else "blob", "modality": "image"}
                for part in message.parts
            ],
        }
    if isinstance(message, ToolMessage):
        response = {
            "type": "tool_call_response",
            "id": message.tool_call_id,
            "response": cut(message.text),
        }
        return {"role": "tool", "parts": [response]}
    parts: list[dict[str, Any]] = []
    if message.reasoning:
        parts.append({"type": "reasoning", "content": cut(message.reasoning)})
    if message.text:
        parts.append({"type": "text", "content": cut(message.text)})
    parts += [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": cut(call.arguments)}
        for call in message.tool_calls
    ]
    return {"role": "assistant", "parts": parts, "finish_reason": message.finish_reason}
