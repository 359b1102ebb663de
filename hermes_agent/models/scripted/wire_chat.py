"""The chat-completions dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
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
    CREATED,
    Decoded,
    fail_unless,
    joined,
    list_of,
    model_and_stream,
    object_of,
    parts_of,
    session_of,
    sse,
    text_of,
    to_json,
    tool,
)

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


def decode(body: Mapping[str, Any]) -> Decoded:
    """Understand a request. Raises `WireError`."""
    model, stream = model_and_stream(body)
    raw_messages = list_of(body.get("messages"), "messages")
    fail_unless(bool(raw_messages), "messages must not be empty")
    system: list[str] = []
    messages: list[Message] = []
    names: dict[str, str] = {}
    for raw in raw_messages:
        message = _message(raw, names)
        if isinstance(message, str):
            system.append(message)
        else:
            messages.append(message)
    raw_tools = list_of(body.get("tools"), "tools")
    tools = []
    for raw in raw_tools:
        function = raw.get("function")
        fail_unless(isinstance(function, dict), "every tool needs a function")
        assert isinstance(function, dict)
        tools.append(tool(function.get("name"), function.get("description"), function.get("parameters")))
    options = body.get("stream_options")
    return Decoded(
        ModelRequest(
            "\n\n".join(system),
            tuple(messages),
            tuple(tools),
            session_id=session_of(body),
            max_output_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        ),
        model,
        stream,
        [to_json(item) for item in (*raw_tools, *raw_messages)],
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _message(raw: Mapping[str, Any], names: dict[str, str]) -> Message | str:
    """One message; a plain string is a system prompt."""
    role = raw.get("role")
    parts = parts_of(raw.get("content"), "content")
    if role in ("system", "developer"):
        return joined(parts)
    if role == "user":
        return UserMessage(parts)
    if role == "tool":
        call_id = raw.get("tool_call_id")
        fail_unless(isinstance(call_id, str), "a tool message needs a tool_call_id")
        assert isinstance(call_id, str)
        fail_unless(call_id in names, f"tool_call_id {call_id!r} answers no tool call before it")
        return ToolMessage(call_id, names[call_id], joined(parts))
    fail_unless(role == "assistant", f"unknown role {role!r}")
    calls = []
    for call in list_of(raw.get("tool_calls"), "tool_calls"):
        function = object_of(call.get("function"), "function")
        made = ToolCall(
            text_of(call.get("id"), "id"),
            text_of(function.get("name"), "name"),
            text_of(function.get("arguments"), "arguments"),
        )
        names[made.id] = made.name
        calls.append(made)
    reasoning = raw.get("reasoning_content") or raw.get("reasoning")
    return AssistantMessage(joined(parts), tuple(calls), reasoning if isinstance(reasoning, str) else None)


def usage_json(usage: Usage) -> dict[str, Any]:
    """Usage as this dialect reports it."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def error_json(failure: HttpFailure) -> dict[str, Any]:
    """The body of an error."""
    usual = "server_error" if failure.status >= 500 else "invalid_request_error"
    kind = failure.type or ERROR_TYPES.get(failure.status, usual)
    return {"error": {"message": failure.message, "type": kind, "param": None, "code": failure.code}}


class ChatEncoder:
    """Writes one chat completion."""

    def __init__(self, answer: Answer, decoded: Decoded, number: int) -> None:
        self._answer = answer
        self._wants_usage = decoded.wants_usage
        self._head = {"id": f"chatcmpl-{number}", "created": CREATED, "model": decoded.model}

    def whole(self) -> Mapping[str, Any]:
        """The body of an answer that is not streamed."""
        answer = self._answer
        message: dict[str, Any] = {"role": "assistant", "content": answer.full_text or None, "refusal": None}
        if answer.reasoning:
            message["reasoning_content"] = answer.full_reasoning
        if answer.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in answer.calls
            ]
        message |= answer.extra
        reason = None if answer.finish_reason == "missing" else answer.finish_reason
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        usage = {"usage": usage_json(answer.usage)} if answer.usage else {}
        return {**self._head, "object": "chat.completion", "choices": [choice], **usage}

    def _chunk(self, delta: Mapping[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return sse({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def opening(self) -> Iterator[bytes]:
        """Events before the first beat."""
        yield self._chunk({"role": "assistant", "content": "", **self._answer.extra})

    def beat(self, beat: Beat) -> Iterator[bytes]:
        """Events of one beat."""
        match beat:
            case ReasoningBeat(text):
                yield self._chunk({"reasoning_content": text})
            case TextBeat(text):
                yield self._chunk({"content": text})
            case CallBeat(index, identity, name):
                function = {"name": name, "arguments": ""}
                call = {"index": index, "id": identity, "type": "function", "function": function}
                yield self._chunk({"tool_calls": [call]})
            case ArgumentsBeat(index=index, text=text):
                yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": text}}]})

    def closing(self) -> Iterator[bytes]:
        """Events after the last beat."""
        answer = self._answer
        if answer.finish_reason != "missing":
            yield self._chunk({}, answer.finish_reason)
        if self._wants_usage and answer.usage:
            chunk = {**self._head, "object": "chat.completion.chunk", "choices": []}
            yield sse({**chunk, "usage": usage_json(answer.usage)})
        yield b"data: [DONE]\n\n"


class ChatCompletions:
    """`POST /v1/chat/completions`."""

    def decode(self, body: Mapping[str, Any]) -> Decoded:
        """Understand a request."""
        return decode(body)

    def encoder(self, answer: Answer, decoded: Decoded, number: int) -> ChatEncoder:
        """Prepare to write an answer."""
        return ChatEncoder(answer, decoded, number)

    def error(self, failure: HttpFailure) -> Mapping[str, Any]:
        """The body of an error."""
        return error_json(failure)
