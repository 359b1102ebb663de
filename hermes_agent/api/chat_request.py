"""Bodies of `POST /v1/chat/completions`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hermes_agent.agent.tokens import estimate
from hermes_agent.api.ask import Ask
from hermes_agent.api.content import MessageCache, read_messages
from hermes_agent.api.conversation_reader import Conversation
from hermes_agent.api.errors import bad_request
from hermes_agent.api.fields import effort_field, event_kinds, flag_field, map_field, text_field
from hermes_agent.api.side_requests import is_side_request
from hermes_agent.core.messages import UserMessage

_IGNORED: Final = (
    *("temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty"),
    *("frequency_penalty", "logit_bias", "tools", "tool_choice", "functions", "function_call"),
    *("parallel_tool_calls", "prediction", "service_tier", "top_k", "min_p"),
)
"""Fields that steer a bare model; the agent has tools and settings of its own."""

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion to make. `has_usage_chunk`: the client asked for usage in a chunk of its own."""

    ask: Ask
    has_usage_chunk: bool = False


def read_chat_request(
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    cache: MessageCache,
    conversation: Conversation | None = None,
) -> ChatRequest:
    """Check and read a body; its conversation may have been read already.

    Raises:
        ApiError: 400, something is missing or wrong.
    """
    if "messages" not in body:
        raise bad_request("messages is missing", "messages")
    history_tokens = 0
    if conversation is not None:
        messages, instructions = conversation.messages, conversation.instructions
        history_tokens = conversation.tokens - estimate(messages[-1:])
    else:
        messages, instructions = read_messages(body["messages"], "messages", cache)
    if not messages:
        raise bad_request("messages needs a message of role user", "messages")
    last = messages[-1]
    if not isinstance(last, UserMessage):
        raise bad_request("The last message must be of role user", "messages")
    if not any(getattr(part, "text", "x").strip() for part in last.parts):
        raise bad_request("The last message is empty", "messages")
    if body.get("n") not in (None, 1):
        raise bad_request("n must be 1: one answer at a time", "n")
    modalities = body.get("modalities")
    if modalities is not None and modalities != ["text"]:
        raise bad_request("Only text can be answered", "modalities")
    is_streamed = flag_field(body, "stream", default=False)
    options = map_field(body, "stream_options")
    system = "\n\n".join(text for text in instructions if text.strip())
    session_id, session_key = session_of(headers)
    has_session = session_id is not None or session_key is not None
    history = messages[:-1]
    ask = Ask(
        message=last,
        history=history,
        history_tokens=history_tokens,
        instructions="\n\n".join(
            filter(None, [system, format_instructions(map_field(body, "response_format"))])
        ),
        model=text_field(body, "model") or "",
        is_streamed=is_streamed,
        session_id=session_id,
        session_key=session_key,
        is_stored=flag_field(body, "store", default=False) or has_session,
        is_plain=not has_session and is_side_request(last.text, system),
        reasoning_effort=effort_field(body.get("reasoning_effort"), "reasoning_effort"),
        events=event_kinds(body, headers),
        ignored=[name for name in _IGNORED if body.get(name) not in (None, [], {})],
    )
    return ChatRequest(ask, has_usage_chunk=bool(options.get("include_usage")))


def session_of(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """`X-Hermes-Session-Id` and `X-Hermes-Session-Key`. Raises `ApiError`."""
    session_id = headers.get("x-hermes-session-id", "").strip() or None
    session_key = headers.get("x-hermes-session-key", "").strip() or None
    if session_id is not None and not _SESSION_ID.fullmatch(session_id):
        raise bad_request("X-Hermes-Session-Id is not a session id", "X-Hermes-Session-Id")
    if session_key is not None and len(session_key) > 256:
        raise bad_request("X-Hermes-Session-Key is longer than 256 characters", "X-Hermes-Session-Key")
    return session_id, session_key


def format_instructions(wanted: Mapping[str, Any]) -> str:
    """Instructions that stand for `response_format`."""
    kind = wanted.get("type")
    if kind in (None, "text"):
        return ""
    if kind == "json_object":
        return "Answer with one JSON object and nothing else: no prose, no code fence."
    schema = wanted.get("json_schema")
    if kind == "json_schema" and isinstance(schema, dict):
        text = json.dumps(schema.get("schema", schema), ensure_ascii=False)
        return f"Answer with one JSON value that fits this schema and nothing else, no code fence:\n{text}"
    raise bad_request("response_format.type must be text, json_object or json_schema", "response_format")
