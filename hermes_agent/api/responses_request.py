"""Bodies of `POST /v1/responses`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hermes_agent.api.ask import Ask
from hermes_agent.api.chat_request import format_instructions, session_of
from hermes_agent.api.content import MessageCache, read_messages, read_parts
from hermes_agent.api.errors import bad_request
from hermes_agent.api.fields import (
    effort_field,
    event_kinds,
    flag_field,
    map_field,
    metadata_field,
    text_field,
)
from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage

TRUNCATED_TO: Final = 100
"""Messages of a client's history that `truncation: auto` keeps."""

_IGNORED: Final = (
    *("temperature", "top_p", "max_output_tokens", "max_tool_calls", "tools", "tool_choice", "include"),
    *("parallel_tool_calls", "prompt", "service_tier", "top_logprobs", "safety_identifier", "user"),
)


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """A response to make.

    Attributes:
        ask: What for; its session is chosen by the endpoint.
        items: The input as items, for `GET …/input_items`.
        body: Fields that the response object repeats.
    """

    ask: Ask
    items: list[dict[str, Any]]
    previous_response_id: str | None = None
    conversation: str | None = None
    has_own_history: bool = False
    is_background: bool = False
    body: dict[str, Any] = field(default_factory=dict)


def read_response_request(
    body: Mapping[str, Any], headers: Mapping[str, str], cache: MessageCache
) -> ResponseRequest:
    """Check and read a body.

    Raises:
        ApiError: 400, something is missing or wrong.
    """
    previous = text_field(body, "previous_response_id")
    conversation = _conversation(body)
    if previous and conversation:
        raise bad_request("Give previous_response_id or conversation, not both", "conversation")
    messages, instructions, items = read_input(body.get("input"), cache)
    given = body.get("conversation_history")
    if given is not None:
        earlier, more = read_messages(given, "conversation_history", cache)
        messages, instructions = [*earlier, *messages], [*more, *instructions]
    if not messages or not isinstance(messages[-1], UserMessage):
        raise bad_request("The input must end with a user message", "input")
    history = messages[:-1]
    truncation = body.get("truncation")
    if truncation not in (None, "auto", "disabled"):
        raise bad_request("truncation must be auto or disabled", "truncation")
    if truncation == "auto":
        history = history[-TRUNCATED_TO:]
    own = text_field(body, "instructions", max_chars=1_000_000)
    text = map_field(body, "text")
    layers = [own or "", *instructions, format_instructions(map_field(text, "format"))]
    session_id, session_key = session_of(headers)
    is_stored = flag_field(body, "store", default=True)
    is_background = flag_field(body, "background", default=False)
    if is_background and not is_stored:
        raise bad_request("A background response must be stored", "store")
    ask = Ask(
        message=messages[-1],
        history=history,
        instructions="\n\n".join(layer for layer in layers if layer.strip()),
        model=text_field(body, "model") or "",
        is_streamed=flag_field(body, "stream", default=False),
        session_id=session_id,
        session_key=session_key,
        is_stored=is_stored,
        reasoning_effort=effort_field(map_field(body, "reasoning").get("effort"), "reasoning.effort"),
        events=event_kinds(body, headers),
        ignored=[name for name in _IGNORED if body.get(name) not in (None, [], {})],
    )
    return ResponseRequest(
        ask,
        items,
        previous_response_id=previous,
        conversation=conversation,
        has_own_history=given is not None,
        is_background=is_background,
        body={
            "instructions": own,
            "metadata": metadata_field(body),
            "previous_response_id": previous,
            "truncation": truncation or "disabled",
            "store": is_stored,
            "background": is_background,
            "conversation": {"id": conversation} if conversation else None,
        },
    )


def _conversation(body: Mapping[str, Any]) -> str | None:
    value = body.get("conversation")
    if isinstance(value, dict):
        value = value.get("id")
        if not isinstance(value, str):
            raise bad_request("conversation.id must be a text", "conversation")
    return text_field({"conversation": value}, "conversation", max_chars=256)


def read_input(value: Any, cache: MessageCache) -> tuple[list[Message], list[str], list[dict[str, Any]]]:
    """Messages, system messages, and the input as items.

    Raises:
        ApiError: 400.
    """
    if isinstance(value, str):
        if not value.strip():
            raise bad_request("input is empty", "input")
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": value}]}
        return [cache.get(value, is_user=True)], [], [item]
    if not isinstance(value, list) or not value:
        raise bad_request("input must be a text or a list of items", "input")
    messages: list[Message] = []
    instructions: list[str] = []
    names: dict[str, str] = {}
    loose: list[Any] = []
    for index, item in enumerate(value):
        where = f"input[{index}]"
        if isinstance(item, str):
            messages.append(cache.get(item, is_user=True))
            continue
        if not isinstance(item, dict):
            raise bad_request("An input item must be an object", where)
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind == "message":
            read, system = read_messages([item], where, cache)
            messages.extend(read)
            instructions.extend(system)
        elif kind in ("input_text", "input_image", "input_file", "input_audio"):
            loose.append(item)
            is_last = index + 1 == len(value) or value[index + 1].get("type") not in (
                "input_text",
                "input_image",
            )
            if is_last:
                messages.append(UserMessage(read_parts(loose, where)))
                loose = []
        else:
            message = _other_item(item, kind, where, names)
            if message is not None:
                messages.append(message)
    return messages, instructions, [item if isinstance(item, dict) else _said(item) for item in value]


def _said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def _other_item(item: Mapping[str, Any], kind: object, where: str, names: dict[str, str]) -> Message | None:
    call_id = item.get("call_id")
    if kind == "function_call":
        name = item.get("name")
        if not isinstance(call_id, str) or not isinstance(name, str):
            raise bad_request("A function_call needs call_id and name", where)
        names[call_id] = name
        call = ToolCall(call_id, name, str(item.get("arguments") or "{}"))
        return AssistantMessage(tool_calls=(call,), finish_reason="tool_calls")
    if kind == "function_call_output":
        if not isinstance(call_id, str):
            raise bad_request("A function_call_output needs call_id", where)
        output = item.get("output")
        text = output if isinstance(output, str) else _joined(output, where)
        return ToolMessage(call_id, names.get(call_id, "tool"), text)
    if kind in ("reasoning", "item_reference"):
        return None
    raise bad_request(f"Unknown input item {str(kind)[:40]!r}", f"{where}.type")


def _joined(output: Any, where: str) -> str:
    parts: Sequence[Any] = read_parts(output, f"{where}.output")
    return "\n".join(getattr(part, "text", "[image]") for part in parts)
