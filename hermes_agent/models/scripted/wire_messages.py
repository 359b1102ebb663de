"""The Anthropic Messages dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hermes_agent.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from hermes_agent.core.model import ModelRequest, Usage
from hermes_agent.models.scripted.answer import (
    Answer,
    ArgumentsBeat,
    Beat,
    CallBeat,
    HttpFailure,
    ReasoningBeat,
    TextBeat,
)
from hermes_agent.models.scripted.wire import (
    Decoded,
    fail_unless,
    joined,
    list_of,
    model_and_stream,
    parts_of,
    session_of,
    sse,
    text_of,
    to_json,
    tool,
)

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_SIGNATURE = "c2NyaXB0ZWQtc2lnbmF0dXJl"


def decode(body: Mapping[str, Any]) -> Decoded:
    """Understand a request. Raises `WireError`."""
    model, stream = model_and_stream(body)
    max_tokens = body.get("max_tokens")
    fail_unless(isinstance(max_tokens, int) and max_tokens > 0, "max_tokens is required")
    raw_messages = list_of(body.get("messages"), "messages")
    fail_unless(bool(raw_messages), "messages must not be empty")
    messages: list[Message] = []
    names: dict[str, str] = {}
    for raw in raw_messages:
        messages += _messages(raw, names)
    raw_tools = list_of(body.get("tools"), "tools")
    raw_system = body.get("system")
    system = raw_system if isinstance(raw_system, str) else joined(parts_of(raw_system, "system"))
    prompt = [*raw_tools, *([raw_system] if raw_system else []), *raw_messages]
    marked = [position for position, item in enumerate(prompt, 1) if "cache_control" in to_json(item)]
    return Decoded(
        ModelRequest(
            system,
            tuple(messages),
            tuple(
                tool(raw.get("name"), raw.get("description"), raw.get("input_schema")) for raw in raw_tools
            ),
            session_id=session_of(body),
            max_output_tokens=max_tokens if isinstance(max_tokens, int) else None,
        ),
        model,
        stream,
        [to_json(_without_marks(item)) for item in prompt],
        cacheable=marked[-1] if marked else 0,
    )


def _without_marks(value: Any) -> Any:
    """Break points move from request to request; they are no part of what is cached."""
    if isinstance(value, dict):
        return {key: _without_marks(item) for key, item in value.items() if key != "cache_control"}
    if isinstance(value, list):
        return [_without_marks(item) for item in value]
    return value


def _messages(raw: Mapping[str, Any], names: dict[str, str]) -> list[Message]:
    role, content = raw.get("role"), raw.get("content")
    fail_unless(role in ("user", "assistant"), f"unknown role {role!r}")
    if role == "user":
        return _user(content, names)
    calls, thoughts = [], []
    for block in list_of(content, "content") if not isinstance(content, str) else []:
        if block.get("type") == "tool_use":
            arguments = json.dumps(block.get("input"), ensure_ascii=False)
            call = ToolCall(text_of(block.get("id"), "id"), text_of(block.get("name"), "name"), arguments)
            names[call.id] = call.name
            calls.append(call)
        elif block.get("type") == "thinking":
            thoughts.append(text_of(block.get("thinking"), "thinking"))
    return [AssistantMessage(joined(parts_of(content, "content")), tuple(calls), "\n".join(thoughts) or None)]


def _user(content: object, names: dict[str, str]) -> list[Message]:
    """Tool results come as blocks of a user message."""
    messages: list[Message] = []
    if not isinstance(content, str):
        for block in list_of(content, "content"):
            if block.get("type") != "tool_result":
                continue
            call_id = text_of(block.get("tool_use_id"), "tool_use_id")
            fail_unless(call_id in names, f"tool_use_id {call_id!r} answers no tool call before it")
            parts = parts_of(block.get("content"), "tool_result.content")
            messages.append(
                ToolMessage(
                    call_id,
                    names[call_id],
                    joined(parts),
                    tuple(part for part in parts if isinstance(part, ImagePart)),
                    is_error=block.get("is_error") is True,
                )
            )
    parts = parts_of(content, "content")
    return [*messages, UserMessage(parts)] if parts else messages


def usage_json(usage: Usage) -> dict[str, Any]:
    """Usage as this dialect reports it: `input_tokens` is what the cache had no part in."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "input_tokens": max(0, usage.input_tokens - cached),
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "output_tokens": usage.output_tokens,
    }


class MessagesEncoder:
    """Writes one message."""

    def __init__(self, answer: Answer, decoded: Decoded, number: int) -> None:
        self._answer = answer
        self._head = {
            "id": f"msg_{number:06d}",
            "type": "message",
            "role": "assistant",
            "model": decoded.model,
        }
        self._open: str | None = None
        self._index = -1

    @property
    def _stop_reason(self) -> str | None:
        return _STOP_REASONS.get(self._answer.finish_reason)

    def whole(self) -> Mapping[str, Any]:
        """The body of an answer that is not streamed."""
        answer = self._answer
        content: list[dict[str, Any]] = []
        if answer.reasoning:
            content.append({"type": "thinking", "thinking": answer.full_reasoning, "signature": _SIGNATURE})
        if answer.text:
            content.append({"type": "text", "text": answer.full_text, "citations": None})
        for call in answer.calls:
            try:
                arguments = json.loads(call.arguments or "{}")
            except ValueError:
                arguments = {"_raw": call.arguments}  # this dialect cannot carry broken arguments unstreamed
            content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
        usage = usage_json(answer.usage or Usage())
        return {
            **self._head,
            "content": content,
            "stop_reason": self._stop_reason,
            "stop_sequence": None,
            "usage": usage,
        }

    def _event(self, kind: str, **more: Any) -> bytes:
        return sse({"type": kind, **more}, kind)

    def opening(self) -> Iterator[bytes]:
        """Events before the first beat."""
        usage = {**usage_json(self._answer.usage or Usage()), "output_tokens": 1}
        message: dict[str, Any] = {
            **self._head,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        yield self._event("message_start", message=message)
        yield self._event("ping")

    def _close_block(self) -> Iterator[bytes]:
        if self._open is None:
            return
        if self._open == "thinking":
            delta = {"type": "signature_delta", "signature": _SIGNATURE}
            yield self._event("content_block_delta", index=self._index, delta=delta)
        yield self._event("content_block_stop", index=self._index)
        self._open = None

    def _open_block(self, kind: str, block: Mapping[str, Any]) -> Iterator[bytes]:
        yield from self._close_block()
        self._open = kind
        self._index += 1
        yield self._event("content_block_start", index=self._index, content_block=block)

    def beat(self, beat: Beat) -> Iterator[bytes]:
        """Events of one beat."""
        block: dict[str, Any]
        match beat:
            case ReasoningBeat(text):
                if self._open != "thinking":
                    block = {"type": "thinking", "thinking": "", "signature": ""}
                    yield from self._open_block("thinking", block)
                delta = {"type": "thinking_delta", "thinking": text}
            case TextBeat(text):
                if self._open != "text":
                    yield from self._open_block("text", {"type": "text", "text": "", "citations": None})
                delta = {"type": "text_delta", "text": text}
            case CallBeat(_, identity, name):
                block = {"type": "tool_use", "id": identity, "name": name, "input": {}}
                yield from self._open_block("tool_use", block)
                delta = {"type": "input_json_delta", "partial_json": ""}
            case ArgumentsBeat(text=text):
                delta = {"type": "input_json_delta", "partial_json": text}
        yield self._event("content_block_delta", index=self._index, delta=delta)

    def closing(self) -> Iterator[bytes]:
        """Events after the last beat."""
        yield from self._close_block()
        answer = self._answer
        if answer.finish_reason != "missing":
            delta = {"stop_reason": self._stop_reason, "stop_sequence": None}
            yield self._event("message_delta", delta=delta, usage=usage_json(answer.usage or Usage()))
        yield self._event("message_stop")


class AnthropicMessages:
    """`POST /v1/messages`."""

    def decode(self, body: Mapping[str, Any]) -> Decoded:
        """Understand a request."""
        return decode(body)

    def encoder(self, answer: Answer, decoded: Decoded, number: int) -> MessagesEncoder:
        """Prepare to write an answer."""
        return MessagesEncoder(answer, decoded, number)

    def error(self, failure: HttpFailure) -> Mapping[str, Any]:
        """The body of an error."""
        kind = failure.type or _ERROR_TYPES.get(
            failure.status, "api_error" if failure.status >= 500 else "invalid_request_error"
        )
        return {"type": "error", "error": {"type": kind, "message": failure.message}}
