"""The `Model` port: one request in, one streamed reply out.

A model speaks one wire dialect to one provider. Cross-cutting behaviour (retry, fallback,
credential rotation) is a `Model` that wraps another one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from hermes_agent.core.messages import AssistantMessage, Message

ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh"]

DEFAULT_CONTEXT_WINDOW = 128_000
"""Tokens assumed when neither the configuration nor the profile of a model names its window."""


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """What a model is told about a tool. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or many requests. `input_tokens` includes the cached ones."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0
    cost_usd: float | None = None

    def __add__(self, other: Usage) -> Usage:
        known = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.requests + other.requests,
            sum(known) if known else None,
        )


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Who answers, and what it can do."""

    provider: str
    model: str
    dialect: str
    base_url: str = ""
    context_window: int = DEFAULT_CONTEXT_WINDOW
    max_output_tokens: int | None = None
    supports_tools: bool = True
    supports_images: bool = False
    is_demo: bool = False

    @property
    def label(self) -> str:
        """`provider:model`, the form people type."""
        return f"{self.provider}:{self.model}"


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request.

    `system`, `tools` and the messages of earlier turns are byte-stable over a session; dialects must
    serialise equal values to equal bytes (contract 3). Callers append to the message list and never
    replace an element, so a dialect may reuse what it encoded for the elements it has seen (by identity).

    Attributes:
        system: The system prompt.
        messages: The conversation, oldest first.
        tools: Tools on offer, in a stable order; empty means the model may not call any.
        session_id: Stable id used as prompt-cache key where the provider has one.
        reasoning_effort: None leaves the provider's default.
        max_output_tokens: None leaves the provider's default.
    """

    system: str
    messages: Sequence[Message]
    tools: Sequence[ToolDefinition] = ()
    session_id: str = ""
    reasoning_effort: ReasoningEffort | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A piece of the visible answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningChunk:
    """A piece of readable reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallChunk:
    """The model is writing a tool call: its name and how many argument characters exist so far."""

    name: str
    argument_chars: int


@dataclass(frozen=True, slots=True)
class ReplyRestarted:
    """The request is made again (retry or fallback): everything streamed for it so far is void.

    Attributes:
        reason: For people, one line, no key in it.
        delay_seconds: Wait before the next try.
        info: Who is asked next, if it is somebody else (fallback).
    """

    reason: str
    attempt: int
    delay_seconds: float = 0.0
    info: ModelInfo | None = None


@dataclass(frozen=True, slots=True)
class ModelReply:
    """The end of a stream: the whole message and what it cost. Always the last event."""

    message: AssistantMessage
    usage: Usage
    info: ModelInfo


Spend: TypeAlias = Callable[[Usage, ModelInfo], None]
"""Told what a request beside the conversation used, so that the conversation pays for it."""

ModelEvent: TypeAlias = TextChunk | ReasoningChunk | ToolCallChunk | ReplyRestarted | ModelReply


class Model(Protocol):
    """Answers requests.

    `stream` yields chunks and ends with exactly one `ModelReply`, or raises a `ModelError`.
    Cancelling the consumer closes the connection at once. One instance serves many requests, also
    concurrently, and reuses its HTTP connections.
    """

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        ...

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send one request and stream its reply."""
        ...

    async def aclose(self) -> None:
        """Release connections. Safe to call twice."""
        ...
