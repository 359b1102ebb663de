"""The Anthropic Messages dialect: content blocks, signed thinking, marked prompt caches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hermes_agent.core.messages import AssistantMessage, FinishReason, ImagePart, Part, TextPart
from hermes_agent.core.model import ModelEvent, ModelRequest, Usage
from hermes_agent.models.anthropic_client import open_transport
from hermes_agent.models.assembly import CallDraft
from hermes_agent.models.chat_request import CACHE_MARKS, unseen_images
from hermes_agent.models.dialect import DialectModel
from hermes_agent.models.encoding import (
    ConversationEncoder,
    Group,
    Incoming,
    canonical_schema,
    dumps,
    parse_object,
)
from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.reading import ReplyReader

DEFAULT_MAX_TOKENS = 16_384
"""The dialect demands a limit; taken when neither settings nor profile name one."""

_BUDGETS = {"minimal": 1024, "low": 4096, "medium": 10_000, "high": 16_000, "xhigh": 32_000}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max"}
_ADAPTIVE = re.compile(r"claude-(opus|sonnet|haiku)-(4[-.][6-9]|[5-9])")
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
_START = dumps({"role": "user", "content": [{"type": "text", "text": "[The conversation continues.]"}]})

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


class AnthropicMessagesModel(DialectModel):
    """`core.model.Model` over `POST {base_url}/v1/messages`."""

    def __init__(self, endpoint: Endpoint, key: str = "") -> None:
        path = "/messages" if endpoint.info.base_url.rstrip("/").endswith("/v1") else "/v1/messages"
        super().__init__(endpoint, open_transport(endpoint, key), path, RequestWriter(endpoint))

    def _reader(self, request: ModelRequest) -> ReplyReader:
        return MessagesReader(self._endpoint, request, self._transport.secrets)


class RequestWriter:
    """Writes request bodies: settings, tools, system, then the messages, so that they only grow."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._mark = (
            {"type": "ephemeral"} if endpoint.cache_ttl == "5m" else {"type": "ephemeral", "ttl": "1h"}
        )
        self._encoder = ConversationEncoder(self._group, self._constant)

    def write(self, request: ModelRequest) -> bytes:
        """The body of a request."""
        system, tools, conversation = self._encoder.encode(request)
        items = conversation.items
        marked = conversation.groups[-CACHE_MARKS:]
        items = [*items[: len(items) - len(marked)], *(dumps(self._marked(group)) for group in marked)]
        if conversation.groups and isinstance(conversation.groups[0], AssistantMessage):
            items = [_START, *items]
        head = dumps(self._settings(request))[:-1]
        return b"".join((head, tools, system, b',"messages":[', b",".join(items), b"]}"))

    def _settings(self, request: ModelRequest) -> dict[str, Any]:
        endpoint = self._endpoint
        limit = request.max_output_tokens or endpoint.max_output_tokens or endpoint.info.max_output_tokens
        limit = limit or DEFAULT_MAX_TOKENS
        settings: dict[str, Any] = {"model": endpoint.info.model, "max_tokens": limit, "stream": True}
        effort = request.reasoning_effort or endpoint.reasoning_effort
        if effort and effort != "none":
            if _ADAPTIVE.search(endpoint.info.model.lower()):
                settings["thinking"] = {"type": "adaptive"}
                settings["output_config"] = {"effort": _EFFORTS[effort]}
            elif limit > 1024:
                settings["thinking"] = {"type": "enabled", "budget_tokens": min(_BUDGETS[effort], limit - 1)}
        settings.update(endpoint.extra_body)
        return settings

    def _constant(self, request: ModelRequest) -> tuple[bytes, bytes]:
        system = b""
        if request.system:
            block = {"type": "text", "text": request.system, "cache_control": self._mark}
            system = b',"system":' + dumps([block])
        if not request.tools:
            return system, b""
        tools = [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": canonical_schema(tool.parameters),
            }
            for tool in request.tools
        ]
        return system, b',"tools":' + dumps(tools)

    def _group(self, group: Group) -> list[dict[str, Any]]:
        if isinstance(group, AssistantMessage):
            return [{"role": "assistant", "content": self._assistant(group)}]
        return [{"role": "user", "content": self._incoming(group)}]

    def _marked(self, group: Group) -> dict[str, Any]:
        (message,) = self._group(group)
        content = message["content"]
        content[-1] = {**content[-1], "cache_control": self._mark}
        return message

    def _incoming(self, group: Incoming) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        for result in group.results:
            block: dict[str, Any] = {"type": "tool_result", "tool_use_id": _safe_id(result.tool_call_id)}
            parts = self._parts([TextPart(result.text), *result.images])
            if parts:
                block["content"] = parts
            if result.is_error:
                block["is_error"] = True
            blocks.append(block)
        blocks += self._parts([part for user in group.users for part in user.parts])
        return blocks or [{"type": "text", "text": "[empty message]"}]

    def _parts(self, parts: Sequence[Part]) -> list[dict[str, Any]]:
        sees = self._endpoint.info.supports_images
        blocks: list[dict[str, Any]] = []
        hidden = 0
        for part in parts:
            if isinstance(part, TextPart):
                if part.text.strip():
                    blocks.append({"type": "text", "text": part.text})
            elif sees:
                blocks.append({"type": "image", "source": _image_source(part)})
            else:
                hidden += 1
        if hidden:
            blocks.append({"type": "text", "text": unseen_images(hidden)})
        return blocks

    def _assistant(self, message: AssistantMessage) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        data = message.provider_data
        if data and data.get("origin") == self._endpoint.info.label:
            blocks.extend(data.get("thinking_blocks") or ())
        if message.text.strip():
            blocks.append({"type": "text", "text": message.text.rstrip()})
        for call in message.tool_calls:
            arguments = parse_object(call.arguments)
            if arguments is None:
                arguments = {"invalid_json": call.arguments} if call.arguments.strip() else {}
            blocks.append(
                {"type": "tool_use", "id": _safe_id(call.id), "name": call.name, "input": arguments}
            )
        return blocks if blocks and blocks[-1]["type"] in ("text", "tool_use") else [*blocks, _DOTS]


_DOTS = {"type": "text", "text": "…"}


def _safe_id(call_id: str) -> str:
    """The id as this dialect allows it; ids of other providers may hold dots and colons."""
    return _NOT_IN_IDS.sub("_", call_id)


def _image_source(image: ImagePart) -> dict[str, str]:
    if image.url:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": image.data or ""}


class MessagesReader(ReplyReader):
    """Reads the events of one message."""

    def __init__(self, endpoint: Endpoint, request: ModelRequest, secrets: Sequence[str] = ()) -> None:
        super().__init__(endpoint, request, secrets)
        self._calls: dict[int, CallDraft] = {}
        self._thinking: dict[int, dict[str, Any]] = {}
        self._tokens: dict[str, int] = {}

    def before_end(self) -> None:
        """Keep the thinking that must be sent back; only signed blocks are accepted."""
        blocks = [
            block
            for _, block in sorted(self._thinking.items())
            if block.get("signature") or block["type"] == "redacted_thinking"
        ]
        if blocks:
            self.assembler.provider_data["thinking_blocks"] = blocks

    def whole(self, body: dict[str, Any]) -> list[ModelEvent]:
        """A message that was not streamed."""
        events: list[ModelEvent] = []
        content = body.get("content")
        for place, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict):
                events += self._start(place, block)
        self._usage(body.get("usage"))
        self._stop(body.get("stop_reason"))
        return events

    def chunk(self, chunk: dict[str, Any]) -> list[ModelEvent]:
        """Take one event."""
        kind = chunk.get("type")
        place = chunk.get("index")
        index = place if isinstance(place, int) else 0
        if kind == "content_block_delta" and isinstance(chunk.get("delta"), dict):
            return self._delta(index, chunk["delta"])
        if kind == "content_block_start" and isinstance(chunk.get("content_block"), dict):
            return self._start(index, chunk["content_block"])
        if kind == "message_start" and isinstance(chunk.get("message"), dict):
            self._usage(chunk["message"].get("usage"))
        elif kind == "message_delta":
            self._usage(chunk.get("usage"))
            delta = chunk.get("delta")
            self._stop(delta.get("stop_reason") if isinstance(delta, dict) else None)
        elif kind == "message_stop":
            self.is_done = True
        return []

    def _start(self, index: int, block: dict[str, Any]) -> list[ModelEvent]:
        kind = block.get("type")
        if kind == "text":
            return self.assembler.text(str(block.get("text") or ""))
        if kind == "thinking":
            text = str(block.get("thinking") or "")
            self._thinking[index] = {**block, "thinking": text}
            return self.assembler.reasoning(text)
        if kind == "redacted_thinking":
            self._thinking[index] = block
        elif kind == "tool_use":
            draft = CallDraft(str(block.get("id") or ""), str(block.get("name") or ""))
            if block.get("input"):
                draft.add(dumps(block["input"]).decode())
            self._calls[index] = draft
            self.assembler.calls.append(draft)
            return self.assembler.call_changed(draft)
        return []

    def _delta(self, index: int, delta: dict[str, Any]) -> list[ModelEvent]:
        kind = delta.get("type")
        if kind == "text_delta":
            return self.assembler.text(str(delta.get("text") or ""))
        if kind == "input_json_delta" and index in self._calls:
            draft = self._calls[index]
            draft.add(str(delta.get("partial_json") or ""))
            return self.assembler.call_changed(draft)
        if kind == "thinking_delta":
            text = str(delta.get("thinking") or "")
            block = self._thinking.setdefault(index, {"type": "thinking", "thinking": ""})
            block["thinking"] += text
            return self.assembler.reasoning(text)
        if kind == "signature_delta" and index in self._thinking:
            block = self._thinking[index]
            block["signature"] = str(block.get("signature") or "") + str(delta.get("signature") or "")
        return []

    def _stop(self, reason: object) -> None:
        if reason:
            self.assembler.finish_reason = _FINISH.get(str(reason), "stop")

    def _usage(self, usage: object) -> None:
        """Totals so far; the last event repeats and completes the first."""
        if not isinstance(usage, dict):
            return
        for name in (
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        ):
            if isinstance(usage.get(name), int):
                self._tokens[name] = usage[name]
        cached = self._tokens.get("cache_read_input_tokens", 0)
        written = self._tokens.get("cache_creation_input_tokens", 0)
        self.assembler.usage = Usage(
            input_tokens=self._tokens.get("input_tokens", 0) + cached + written,
            output_tokens=self._tokens.get("output_tokens", 0),
            cache_read_tokens=cached,
            cache_write_tokens=written,
            requests=1,
        )
