"""Puts one streamed reply together: text, reasoning, tool calls, usage. The same for every dialect.

It is deliberately unaware of wire formats: a dialect tells it what arrived and asks for the reply.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hermes_agent.core.errors import ModelResponseError, StreamCutError
from hermes_agent.core.messages import AssistantMessage, FinishReason, ToolCall
from hermes_agent.core.model import (
    ModelEvent,
    ModelReply,
    ModelRequest,
    ReasoningChunk,
    TextChunk,
    ToolCallChunk,
    Usage,
)
from hermes_agent.models.encoding import parse_object, unused_call_id
from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.profiles import ends_naturally
from hermes_agent.models.thinking import ThinkSplitter, split_orphan


@dataclass(slots=True)
class CallDraft:
    """A tool call as far as it has arrived."""

    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    extra: Any = None
    """Opaque value that the provider wants back with this call (Gemini's thought signature)."""

    @property
    def arguments(self) -> str:
        """Argument text so far."""
        return "".join(self.pieces)

    def add(self, arguments: str) -> None:
        """Append argument text."""
        if arguments:
            self.pieces.append(arguments)
            self.length += len(arguments)


class _Surrogates:
    """Joins characters whose two halves arrive in two pieces; drops halves that stay alone."""

    def __init__(self) -> None:
        self._half = ""

    def clean(self, text: str) -> str:
        if not self._half and text.isascii():
            return text
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
        return text


def without_surrogates(text: str) -> str:
    """The text without lone surrogates, pairs joined."""
    return _Surrogates().clean(text)


class ReplyAssembler:
    """One reply in the making.

    `text`, `reasoning` and `call_changed` return the events to stream. `finish` gives the reply.
    """

    def __init__(self, endpoint: Endpoint, request: ModelRequest) -> None:
        self._endpoint = endpoint
        self._request = request
        self._splitter = ThinkSplitter()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._text_halves, self._reasoning_halves = _Surrogates(), _Surrogates()
        self.calls: list[CallDraft] = []
        self.finish_reason: FinishReason | None = None
        self.usage = Usage(requests=1)
        self.provider_data: dict[str, Any] = {}

    @property
    def partial_text(self) -> str:
        """Visible text so far."""
        return "".join(self._text)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all has arrived."""
        return not (self._text or self._reasoning or self.calls)

    def text(self, text: str) -> list[ModelEvent]:
        """Content arrived; it may hold reasoning between tags."""
        text = self._text_halves.clean(text)
        return self._pieces(self._splitter.feed(text)) if text else []

    def reasoning(self, text: str) -> list[ModelEvent]:
        """Reasoning arrived."""
        text = self._reasoning_halves.clean(text)
        if not text:
            return []
        self._reasoning.append(text)
        return [ReasoningChunk(text)]

    def call_changed(self, draft: CallDraft) -> list[ModelEvent]:
        """A tool call has grown."""
        return [ToolCallChunk(draft.name, draft.length)] if draft.name else []

    def _pieces(self, pieces: list[Any]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for kind, text in pieces:
            if kind == "reasoning":
                self._reasoning.append(text)
                events.append(ReasoningChunk(text))
                continue
            if not self._text and self._reasoning:
                text = text.lstrip()  # models put blank lines between reasoning and answer
            if text:
                self._text.append(text)
                events.append(TextChunk(text))
        return events

    def cut(self, why: str | None = None) -> StreamCutError:
        """The error for a stream that ended too early."""
        return StreamCutError(
            f"The answer of {self._endpoint.info.label} was cut off",
            why=why or "The connection was closed before the model had finished.",
            remedy="Try again; if it keeps happening, the provider or a proxy drops long answers.",
            partial_text=self.partial_text,
        )

    def flush(self) -> list[ModelEvent]:
        """Give what was held back because it might have been a tag."""
        return self._pieces(self._splitter.finish())

    def finish(self, *, is_complete: bool) -> ModelReply:
        """The reply, once the stream has ended. Call `flush` before.

        Args:
            is_complete: The provider said that this was all (a finish reason or an end marker).

        Raises:
            StreamCutError: It did not; nothing of an unfinished tool call survives.
            ModelResponseError: The answer is empty.
        """
        if self.finish_reason is None and not is_complete:
            raise self.cut()
        text = self.partial_text
        reasoning, text = split_orphan(text) if "</" in text else ("", text)
        if reasoning:
            self._reasoning.append(reasoning)
        calls = self._finished_calls()
        reason = self._reason(text, calls)
        if not text.strip() and not calls and reason not in ("length", "content_filter"):
            raise self._empty()
        info = self._endpoint.info
        data = {"origin": info.label, **self.provider_data} if self.provider_data else None
        message = AssistantMessage(
            text=text,
            tool_calls=calls,
            reasoning="".join(self._reasoning) or None,
            provider_data=data,
            finish_reason=reason,
        )
        return ModelReply(message, self.usage, info)

    def _reason(self, text: str, calls: tuple[ToolCall, ...]) -> FinishReason:
        reason = self.finish_reason or "stop"
        if reason in ("stop", "tool_calls"):
            if calls:
                return "tool_calls"
            if text and self._endpoint.profile.checks_endings and not ends_naturally(text):
                return "length"
            return "stop"
        return reason

    def _empty(self) -> ModelResponseError:
        label = self._endpoint.info.label
        if self._reasoning:
            return ModelResponseError(
                f"{label} thought but gave no answer",
                remedy="Try again, or lower the reasoning effort (`/reasoning low`).",
            )
        return ModelResponseError(
            f"{label} gave an empty answer", remedy="Try again, or choose another model."
        )

    def _finished_calls(self) -> tuple[ToolCall, ...]:
        drafts = [draft for draft in self.calls if draft.name]
        if not drafts:
            return ()
        arguments = [without_surrogates(draft.arguments) for draft in drafts]
        ends_well = self.finish_reason in ("stop", "tool_calls")
        is_free = unused_call_id(self._request)
        calls: list[ToolCall] = []
        taken: set[str] = set()
        for draft, text in zip(drafts, arguments, strict=True):
            if self.finish_reason is None and text and parse_object(text) is None:
                raise self.cut("The stream ended in the middle of a tool call.")
            if self.finish_reason is not None and not ends_well and parse_object(text) is None:
                continue  # half a call: the model hit its output limit while writing it
            call_id = _unique(draft.id, lambda each: is_free(each) and each not in taken)
            taken.add(call_id)
            if draft.extra is not None:
                self.provider_data.setdefault("call_extras", {})[call_id] = draft.extra
            calls.append(ToolCall(call_id, draft.name, text))
        return tuple(calls)


def _unique(call_id: str, is_free: Callable[[str], bool]) -> str:
    return call_id if call_id and is_free(call_id) else f"call_{secrets.token_hex(12)}"


def argument_text(value: object) -> str:
    """Arguments as text; some servers send an object instead."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
