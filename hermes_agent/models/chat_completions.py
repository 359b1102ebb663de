"""The OpenAI chat completions dialect, as spoken by OpenAI and, each a little differently, by others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from hermes_agent.core.errors import ModelRequestError, ModelServerError
from hermes_agent.core.messages import FinishReason
from hermes_agent.core.model import ModelEvent, ModelRequest, Usage
from hermes_agent.models import errors
from hermes_agent.models.assembly import CallDraft, argument_text
from hermes_agent.models.chat_request import RequestWriter
from hermes_agent.models.dialect import DialectModel
from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.openai_client import open_transport
from hermes_agent.models.reading import ReplyReader

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "stop_sequence": "stop",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
    "safety": "content_filter",
}
_BROKEN = frozenset({"error", "network_error", "insufficient_system_resource", "malformed_function_call"})


class ChatCompletionsModel(DialectModel):
    """`core.model.Model` over `POST {base_url}/chat/completions`."""

    def __init__(self, endpoint: Endpoint, key: str = "") -> None:
        self._learner = RequestWriter(endpoint)
        super().__init__(endpoint, open_transport(endpoint, key), "/chat/completions", self._learner)

    def _reader(self, request: ModelRequest) -> ReplyReader:
        return ChatReader(self._endpoint, request, self._transport.secrets)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send one request and stream its reply; again without what the server does not know.

        Raises every kind of `ModelError`.
        """
        while True:
            reader = self._reader(request)
            try:
                async with aclosing(self._exchange(request, reader)) as events:
                    async for event in events:
                        yield event
            except ModelRequestError as error:
                if not reader.assembler.is_empty or not self._learner.learn(error):
                    raise
            else:
                return


class ChatReader(ReplyReader):
    """Reads the chunks of one chat completion."""

    def __init__(self, endpoint: Endpoint, request: ModelRequest, secrets: Sequence[str] = ()) -> None:
        super().__init__(endpoint, request, secrets)
        self._by_index: dict[int, CallDraft] = {}
        self._details: list[Any] = []

    def whole(self, body: dict[str, Any]) -> list[ModelEvent]:
        """A completion that was not streamed: its message is one big delta."""
        return self.chunk(body)

    def before_end(self) -> None:
        """Keep the reasoning details that must be sent back."""
        if self._details:
            self.assembler.provider_data["reasoning_details"] = _joined_details(self._details)

    def chunk(self, chunk: dict[str, Any]) -> list[ModelEvent]:
        """Take one `chat.completion.chunk`."""
        assembler = self.assembler
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            assembler.usage = read_usage(usage)
        choices = chunk.get("choices")
        if not choices or not isinstance(choices, list) or not isinstance(choices[0], dict):
            return []
        choice = choices[0]
        delta = choice.get("delta") or choice.get("message") or {}
        events: list[ModelEvent] = []
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        details = delta.get("reasoning_details")
        if isinstance(details, list):
            self._details.extend(details)
            if not reasoning:
                reasoning = "".join(
                    each.get("text") or each.get("summary") or ""
                    for each in details
                    if isinstance(each, dict)
                )
        if reasoning and isinstance(reasoning, str):
            events += assembler.reasoning(reasoning)
        content = delta.get("content")
        if content:
            events += assembler.text(content) if isinstance(content, str) else self._content_parts(content)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            events += assembler.text(refusal)
        calls = delta.get("tool_calls")
        if calls and isinstance(calls, list):
            for call in calls:
                if isinstance(call, dict):
                    events += assembler.call_changed(self._call(call))
        elif isinstance(delta.get("function_call"), dict):
            events += assembler.call_changed(self._call({"index": 0, "function": delta["function_call"]}))
        reason = choice.get("finish_reason")
        if reason:
            self._finish_reason(str(reason), choice)
        return events

    def _content_parts(self, content: Any) -> list[ModelEvent]:
        """Content as a list of parts: text, or thinking (Mistral)."""
        events: list[ModelEvent] = []
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            if isinstance(part.get("text"), str):
                events += self.assembler.text(part["text"])
            elif isinstance(part.get("thinking"), list):
                for each in part["thinking"]:
                    if isinstance(each, dict) and isinstance(each.get("text"), str):
                        events += self.assembler.reasoning(each["text"])
        return events

    def _finish_reason(self, reason: str, choice: dict[str, Any]) -> None:
        name = reason.lower()
        if name in _BROKEN:
            native = choice.get("native_finish_reason") or reason
            text = (
                errors.error_text(choice["error"])[0]
                if choice.get("error")
                else f"It stopped with {native!r}."
            )
            raise ModelServerError(
                f"{self.endpoint.info.label} broke off its answer",
                why=self.scrub(text),
                partial_text=self.assembler.partial_text,
            )
        self.assembler.finish_reason = _FINISH.get(name, "stop")

    def _call(self, delta: dict[str, Any]) -> CallDraft:
        function = delta.get("function")
        function = function if isinstance(function, dict) else {}
        call_id = str(delta.get("id") or "")
        name = str(function.get("name") or "")
        arguments = argument_text(function.get("arguments"))
        draft = self._draft(delta.get("index"), call_id, name)
        draft.id = draft.id or call_id
        draft.extra = delta.get("extra_content") or draft.extra
        if name and name != draft.name and not draft.pieces:
            draft.name = name if name.startswith(draft.name) else draft.name + name
        draft.add(arguments)
        return draft

    def _draft(self, index: object, call_id: str, name: str) -> CallDraft:
        """The call a delta belongs to.

        Servers differ: some leave out the index or the id, some send index 0 for every call, some
        repeat the name with every piece.
        """
        drafts = self.assembler.calls
        known = self._by_index.get(index) if isinstance(index, int) else None
        if isinstance(index, int):
            is_other = known is not None and name and call_id and known.id and known.id != call_id
            if known is not None and not is_other:
                return known
        elif call_id:
            same = next((draft for draft in drafts if draft.id == call_id), None)
            if same is not None:
                return same
            if drafts and not name:
                return drafts[-1]
        elif drafts:
            last = drafts[-1]
            is_next = name and (name != last.name or _is_object(last.arguments))
            if not is_next:
                return last
        draft = CallDraft()
        drafts.append(draft)
        if isinstance(index, int):
            self._by_index[index] = draft
        return draft


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _joined_details(details: Sequence[Any]) -> list[Any]:
    """Reasoning details as they must be sent back: pieces of one block joined."""
    joined: list[Any] = []
    for detail in details:
        last = joined[-1] if joined else None
        if not (
            isinstance(detail, dict)
            and isinstance(last, dict)
            and detail.get("type") == last.get("type")
            and detail.get("index") == last.get("index")
            and detail.get("type") in ("reasoning.text", "reasoning.summary")
        ):
            joined.append(dict(detail) if isinstance(detail, dict) else detail)
            continue
        for key, value in detail.items():
            if key in ("text", "summary") and isinstance(value, str):
                last[key] = (last.get(key) or "") + value
            elif value is not None:
                last[key] = value
    return joined


def read_usage(usage: dict[str, Any]) -> Usage:
    """Usage of a chat completion, with the spellings of the various caches."""
    prompt = usage.get("prompt_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else {}
    completion = usage.get("completion_tokens_details")
    completion = completion if isinstance(completion, dict) else {}
    cost = usage.get("cost")
    return replace(
        Usage(requests=1),
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cache_read_tokens=_count(
            prompt.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or usage.get("cached_tokens")
        ),
        cache_write_tokens=_count(
            prompt.get("cache_write_tokens") or usage.get("cache_creation_input_tokens")
        ),
        reasoning_tokens=_count(completion.get("reasoning_tokens")),
        cost_usd=float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) else None,
    )


def _count(value: object) -> int:
    return max(0, int(value)) if isinstance(value, int | float) else 0
