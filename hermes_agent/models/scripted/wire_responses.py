"""The Responses dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.model import ModelRequest, Usage
from hermes_agent.models.scripted.answer import (
    Answer,
    AnswerCall,
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
    WireError,
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
from hermes_agent.models.scripted.wire_chat import error_json

_ENCRYPTED = "c2NyaXB0ZWQtcmVhc29uaW5n"


def decode(body: Mapping[str, Any]) -> Decoded:
    """Understand a request. Raises `WireError`."""
    model, stream = model_and_stream(body)
    raw_input = body.get("input")
    if isinstance(raw_input, str):
        raw_input = [{"role": "user", "content": raw_input}]
    items = list_of(raw_input, "input")
    fail_unless(bool(items), "input must not be empty")
    instructions = text_of(body.get("instructions"), "instructions")
    system = [instructions] if instructions else []
    messages = _messages(items, system)
    raw_tools = [raw for raw in list_of(body.get("tools"), "tools") if raw.get("type") == "function"]
    return Decoded(
        ModelRequest(
            "\n\n".join(system),
            tuple(messages),
            tuple(tool(raw.get("name"), raw.get("description"), raw.get("parameters")) for raw in raw_tools),
            session_id=session_of(body),
            max_output_tokens=body.get("max_output_tokens"),
        ),
        model,
        stream,
        [to_json(item) for item in (*raw_tools, instructions, *items)],
    )


def _messages(items: list[Mapping[str, Any]], system: list[str]) -> list[Message]:
    """Neighbouring assistant items (reasoning, text, calls) are one message."""
    messages: list[Message] = []
    names: dict[str, str] = {}
    said: list[AssistantMessage] = []

    def flush() -> None:
        if said:
            reasoning = "\n".join(item.reasoning for item in said if item.reasoning) or None
            calls = tuple(call for item in said for call in item.tool_calls)
            messages.append(
                AssistantMessage("\n".join(item.text for item in said if item.text), calls, reasoning)
            )
            said.clear()

    for item in items:
        kind, role = item.get("type", "message"), item.get("role")
        if kind == "function_call":
            call = ToolCall(
                text_of(item.get("call_id"), "call_id"),
                text_of(item.get("name"), "name"),
                text_of(item.get("arguments"), "arguments"),
            )
            names[call.id] = call.name
            said.append(AssistantMessage(tool_calls=(call,)))
        elif kind == "reasoning":
            summary = "\n".join(str(part.get("text", "")) for part in list_of(item.get("summary"), "summary"))
            said.append(AssistantMessage(reasoning=summary))
        elif kind == "message" and role == "assistant":
            said.append(AssistantMessage(joined(parts_of(item.get("content"), "content"))))
        elif kind == "function_call_output":
            flush()
            call_id = text_of(item.get("call_id"), "call_id")
            fail_unless(call_id in names, f"call_id {call_id!r} answers no function call before it")
            messages.append(
                ToolMessage(call_id, names[call_id], joined(parts_of(item.get("output"), "output")))
            )
        elif kind == "message" and role in ("system", "developer"):
            system.append(joined(parts_of(item.get("content"), "content")))
        elif kind == "message" and role == "user":
            flush()
            messages.append(UserMessage(parts_of(item.get("content"), "content")))
        else:
            raise WireError(f"unknown input item of type {kind!r} and role {role!r}")
    flush()
    return messages


def usage_json(usage: Usage) -> dict[str, Any]:
    """Usage as this dialect reports it."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


class ResponsesEncoder:
    """Writes one response."""

    def __init__(self, answer: Answer, decoded: Decoded, number: int) -> None:
        self._answer = answer
        self._id = f"resp_{number:06d}"
        self._model = decoded.model
        self._sequence = -1
        self._output: list[dict[str, Any]] = []
        self._open: str | None = None

    def _response(self, status: str, output: list[dict[str, Any]], *, is_final: bool) -> dict[str, Any]:
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        reason = reasons.get(self._answer.finish_reason) if is_final else None
        usage = usage_json(self._answer.usage) if is_final and self._answer.usage else None
        return {
            "id": self._id,
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "instructions": None,
            "metadata": {},
            "model": self._model,
            "output": output,
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": usage,
        }

    @property
    def _final_status(self) -> str:
        return "incomplete" if self._answer.finish_reason in ("length", "content_filter") else "completed"

    def _reasoning_item(self, text: str, status: str) -> dict[str, Any]:
        summary = [{"type": "summary_text", "text": text}] if text else []
        return {
            "id": f"rs_{self._id}",
            "type": "reasoning",
            "summary": summary,
            "encrypted_content": _ENCRYPTED,
            "status": status,
        }

    def _message_item(self, text: str | None, status: str) -> dict[str, Any]:
        content = [] if text is None else [_text_part(text)]
        return {
            "id": f"msg_{self._id}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _call_item(self, call: AnswerCall, arguments: str, status: str) -> dict[str, Any]:
        return {
            "id": f"fc_{call.id}",
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": arguments,
            "status": status,
        }

    def _items(self) -> list[dict[str, Any]]:
        answer = self._answer
        items = [self._reasoning_item(answer.full_reasoning, "completed")] if answer.reasoning else []
        if answer.text:
            items.append(self._message_item(answer.full_text, self._final_status))
        return [*items, *(self._call_item(call, call.arguments, "completed") for call in answer.calls)]

    def whole(self) -> Mapping[str, Any]:
        """The body of an answer that is not streamed."""
        return self._response(self._final_status, self._items(), is_final=True)

    def _event(self, kind: str, **more: Any) -> bytes:
        self._sequence += 1
        return sse({"type": kind, "sequence_number": self._sequence, **more}, kind)

    def opening(self) -> Iterator[bytes]:
        """Events before the first beat."""
        response = self._response("in_progress", [], is_final=False)
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)

    @property
    def _index(self) -> int:
        return len(self._output)

    def _add(self, kind: str, item: dict[str, Any]) -> Iterator[bytes]:
        yield from self._finish()
        self._open = kind
        yield self._event("response.output_item.added", output_index=self._index, item=item)

    def _finish(self) -> Iterator[bytes]:
        """Close the item that is open."""
        if self._open is None:
            return
        index, answer = self._index, self._answer
        if self._open == "reasoning":
            item = self._reasoning_item(answer.full_reasoning, "completed")
            at = {"item_id": item["id"], "output_index": index, "summary_index": 0}
            yield self._event("response.reasoning_summary_text.done", **at, text=answer.full_reasoning)
            yield self._event("response.reasoning_summary_part.done", **at, part=item["summary"][0])
        elif self._open == "text":
            item = self._message_item(answer.full_text, self._final_status)
            at = {"item_id": item["id"], "output_index": index, "content_index": 0}
            yield self._event("response.output_text.done", **at, text=answer.full_text, logprobs=[])
            yield self._event("response.content_part.done", **at, part=item["content"][0])
        else:
            call = answer.calls[int(self._open)]
            item = self._call_item(call, call.arguments, "completed")
            yield self._event(
                "response.function_call_arguments.done",
                item_id=item["id"],
                output_index=index,
                name=call.name,
                arguments=call.arguments,
            )
        yield self._event("response.output_item.done", output_index=index, item=item)
        self._output.append(item)
        self._open = None

    def beat(self, beat: Beat) -> Iterator[bytes]:
        """Events of one beat."""
        match beat:
            case ReasoningBeat(text):
                item = self._reasoning_item("", "in_progress")
                at: dict[str, Any] = {"item_id": item["id"], "summary_index": 0}
                if self._open != "reasoning":
                    yield from self._add("reasoning", item)
                    part = {"type": "summary_text", "text": ""}
                    at["output_index"] = self._index
                    yield self._event("response.reasoning_summary_part.added", **at, part=part)
                at["output_index"] = self._index
                yield self._event("response.reasoning_summary_text.delta", **at, delta=text)
            case TextBeat(text):
                item = self._message_item(None, "in_progress")
                at = {"item_id": item["id"], "content_index": 0}
                if self._open != "text":
                    yield from self._add("text", item)
                    at["output_index"] = self._index
                    yield self._event("response.content_part.added", **at, part=_text_part(""))
                at["output_index"] = self._index
                yield self._event("response.output_text.delta", **at, delta=text, logprobs=[])
            case CallBeat(index=index):
                item = self._call_item(self._answer.calls[index], "", "in_progress")
                yield from self._add(str(index), item)
            case ArgumentsBeat(index=index, text=text):
                yield self._event(
                    "response.function_call_arguments.delta",
                    item_id=f"fc_{self._answer.calls[index].id}",
                    output_index=self._index,
                    delta=text,
                )

    def closing(self) -> Iterator[bytes]:
        """Events after the last beat."""
        yield from self._finish()
        if self._answer.finish_reason == "missing":
            return
        status = self._final_status
        yield self._event(f"response.{status}", response=self._response(status, self._output, is_final=True))


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class Responses:
    """`POST /v1/responses`; its errors look like those of chat completions."""

    def decode(self, body: Mapping[str, Any]) -> Decoded:
        """Understand a request."""
        return decode(body)

    def encoder(self, answer: Answer, decoded: Decoded, number: int) -> ResponsesEncoder:
        """Prepare to write an answer."""
        return ResponsesEncoder(answer, decoded, number)

    def error(self, failure: HttpFailure) -> Mapping[str, Any]:
        """The body of an error."""
        return error_json(failure)
