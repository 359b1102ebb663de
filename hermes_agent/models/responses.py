"""The OpenAI Responses dialect: typed items instead of messages, reasoning carried along encrypted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hermes_agent.core.messages import AssistantMessage, ImagePart, Part, TextPart
from hermes_agent.core.model import ModelEvent, ModelRequest, Usage
from hermes_agent.models.assembly import CallDraft
from hermes_agent.models.chat_request import image_url, unseen_images
from hermes_agent.models.dialect import DialectModel
from hermes_agent.models.encoding import (
    ConversationEncoder,
    Group,
    call_arguments,
    canonical_schema,
    dumps,
)
from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.openai_client import open_transport
from hermes_agent.models.reading import ReplyReader

_REASONS = re.compile(r"(^|/)(o\d|gpt-5|codex|grok-4|gpt-oss)")
_CALL_TYPES = frozenset({"function_call", "custom_tool_call"})


class ResponsesModel(DialectModel):
    """`core.model.Model` over `POST {base_url}/responses`. Nothing is stored at the provider."""

    def __init__(self, endpoint: Endpoint, key: str = "") -> None:
        super().__init__(endpoint, open_transport(endpoint, key), "/responses", RequestWriter(endpoint))

    def _reader(self, request: ModelRequest) -> ReplyReader:
        return ResponsesReader(self._endpoint, request, self._transport.secrets)


class RequestWriter:
    """Writes request bodies: settings, tools, instructions, then the items, so that they only grow."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._encoder = ConversationEncoder(self._group, self._constant)

    def write(self, request: ModelRequest) -> bytes:
        """The body of a request."""
        system, tools, conversation = self._encoder.encode(request)
        head = dumps(self._settings(request))[:-1]
        return b"".join((head, tools, system, b',"input":[', b",".join(conversation.items), b"]}"))

    def _settings(self, request: ModelRequest) -> dict[str, Any]:
        endpoint = self._endpoint
        model = endpoint.info.model
        settings: dict[str, Any] = {"model": model, "stream": True, "store": False}
        limit = request.max_output_tokens or endpoint.max_output_tokens
        if limit:
            settings["max_output_tokens"] = limit
        if _REASONS.search(model.lower()):
            settings["include"] = ["reasoning.encrypted_content"]
            effort = request.reasoning_effort or endpoint.reasoning_effort
            if effort:
                settings["reasoning"] = {"effort": effort, "summary": "auto"}
        if endpoint.profile.supports_prompt_cache_key and request.session_id:
            settings["prompt_cache_key"] = request.session_id
        settings.update(endpoint.extra_body)
        return settings

    def _constant(self, request: ModelRequest) -> tuple[bytes, bytes]:
        system = b',"instructions":' + dumps(request.system) if request.system else b""
        if not request.tools:
            return system, b""
        tools = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": canonical_schema(tool.parameters),
                "strict": False,
            }
            for tool in request.tools
        ]
        return system, b',"tools":' + dumps(tools)

    def _group(self, group: Group) -> list[dict[str, Any]]:
        if isinstance(group, AssistantMessage):
            return self._assistant(group)
        sees = self._endpoint.info.supports_images
        items: list[dict[str, Any]] = []
        images: list[ImagePart] = []
        for result in group.results:
            text = result.text
            if result.images and not sees:
                text += f"\n{unseen_images(len(result.images))}"
            images.extend(result.images if sees else ())
            items.append({"type": "function_call_output", "call_id": result.tool_call_id, "output": text})
        parts: list[Part] = [part for user in group.users for part in user.parts]
        if images:
            parts = [TextPart("[Images from the tool results above]"), *images, *parts]
        if parts:
            items.append({"type": "message", "role": "user", "content": _content(parts, sees=sees)})
        return items

    def _assistant(self, message: AssistantMessage) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        data = message.provider_data
        if data and data.get("origin") == self._endpoint.info.label:
            items.extend(data.get("reasoning_items") or ())
        if message.text:
            content = [{"type": "output_text", "text": message.text}]
            items.append({"type": "message", "role": "assistant", "content": content})
        items.extend(
            {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": call_arguments(call),
            }
            for call in message.tool_calls
        )
        return items


def _content(parts: Sequence[Part], *, sees: bool) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    hidden = 0
    for part in parts:
        if isinstance(part, TextPart):
            written.append({"type": "input_text", "text": part.text})
        elif sees:
            written.append({"type": "input_image", "image_url": image_url(part)})
        else:
            hidden += 1
    if hidden:
        written.append({"type": "input_text", "text": unseen_images(hidden)})
    return written


class ResponsesReader(ReplyReader):
    """Reads the events of one response."""

    def __init__(self, endpoint: Endpoint, request: ModelRequest, secrets: Sequence[str] = ()) -> None:
        super().__init__(endpoint, request, secrets)
        self._calls: dict[str, CallDraft] = {}
        self._reasoning_items: list[dict[str, Any]] = []

    def whole(self, body: dict[str, Any]) -> list[ModelEvent]:
        """A response that was not streamed."""
        return self._ended(body)

    def before_end(self) -> None:
        """Keep the reasoning that must be sent back."""
        if self._reasoning_items:
            self.assembler.provider_data["reasoning_items"] = self._reasoning_items

    def check(self, chunk: Any, name: str = "") -> None:
        """Whole responses carry `error: null`; failed ones arrive as `response.failed`."""
        if chunk.get("object") == "response" and chunk.get("status") not in ("failed", "cancelled"):
            return
        super().check(chunk, name)

    def chunk(self, chunk: dict[str, Any]) -> list[ModelEvent]:
        """Take one event."""
        kind = str(chunk.get("type") or "")
        assembler = self.assembler
        delta = chunk.get("delta")
        if isinstance(delta, str):
            if kind in ("response.output_text.delta", "response.refusal.delta"):
                return assembler.text(delta)
            if kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
                return assembler.reasoning(delta)
            if kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
                draft = self._draft(chunk, {})
                draft.add(delta)
                return assembler.call_changed(draft)
        if kind == "response.reasoning_summary_part.added":
            return assembler.reasoning("\n\n") if chunk.get("summary_index") else []
        item = chunk.get("item")
        if kind in ("response.output_item.added", "response.output_item.done") and isinstance(item, dict):
            return self._item(chunk, item, is_done=kind.endswith("done"))
        response = chunk.get("response")
        if isinstance(response, dict) and kind in (
            "response.completed",
            "response.incomplete",
            "response.done",
            "response.failed",
            "response.cancelled",
        ):
            return self._ended(response)
        return []

    def _ended(self, response: dict[str, Any]) -> list[ModelEvent]:
        assembler = self.assembler
        status = response.get("status")
        if status in ("failed", "cancelled") or response.get("error"):
            raise self.error(response if response.get("error") else {"message": f"The response {status}."})
        usage = response.get("usage")
        if isinstance(usage, dict):
            assembler.usage = read_usage(usage)
        events: list[ModelEvent] = []
        output = response.get("output")
        if isinstance(output, list) and assembler.is_empty:
            for place, item in enumerate(output):
                if isinstance(item, dict):
                    events += self._item({"output_index": place}, item, is_done=True)
                    events += self._message_text(item)
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        if status == "incomplete":
            assembler.finish_reason = "content_filter" if reason == "content_filter" else "length"
        else:
            assembler.finish_reason = "tool_calls" if assembler.calls else "stop"
        self.is_done = True
        return events

    def _message_text(self, item: dict[str, Any]) -> list[ModelEvent]:
        if item.get("type") != "message" or not isinstance(item.get("content"), list):
            return []
        texts = [
            part.get("text") or part.get("refusal") for part in item["content"] if isinstance(part, dict)
        ]
        return [event for text in texts if isinstance(text, str) for event in self.assembler.text(text)]

    def _item(self, chunk: dict[str, Any], item: dict[str, Any], *, is_done: bool) -> list[ModelEvent]:
        kind = item.get("type")
        if kind == "reasoning" and is_done and item.get("encrypted_content"):
            self._reasoning_items.append({key: value for key, value in item.items() if key != "status"})
            return []
        if kind not in _CALL_TYPES:
            return []
        draft = self._draft(chunk, item)
        draft.id = str(item.get("call_id") or draft.id)
        draft.name = str(item.get("name") or draft.name)
        arguments = item.get("arguments")
        if is_done and isinstance(arguments, str) and arguments:
            draft.pieces, draft.length = [arguments], len(arguments)
        return self.assembler.call_changed(draft)

    def _draft(self, chunk: dict[str, Any], item: dict[str, Any]) -> CallDraft:
        keys = [
            str(key)
            for key in (chunk.get("output_index"), chunk.get("item_id"), item.get("id"), item.get("call_id"))
            if key is not None
        ]
        draft = next((self._calls[key] for key in keys if key in self._calls), None)
        if draft is None:
            draft = CallDraft()
            self.assembler.calls.append(draft)
        for key in keys:
            self._calls.setdefault(key, draft)
        return draft


def read_usage(usage: dict[str, Any]) -> Usage:
    """Usage of a response."""
    given, made = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    return Usage(
        input_tokens=int(usage.get("input_tokens") or 0),
        output_tokens=int(usage.get("output_tokens") or 0),
        cache_read_tokens=int(given.get("cached_tokens") or 0) if isinstance(given, dict) else 0,
        reasoning_tokens=int(made.get("reasoning_tokens") or 0) if isinstance(made, dict) else 0,
        requests=1,
    )
