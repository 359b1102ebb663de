"""`Answer`: one reply, fully decided, before it is put into any wire format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from hermes_agent.core.model import ModelRequest, Usage

ScriptFinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "missing"]
FaultKind: TypeAlias = Literal["cut", "hang", "garbage"]


@dataclass(frozen=True, slots=True)
class AnswerCall:
    """A tool call; `pieces` are the parts in which its argument text is streamed."""

    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> str:
        """The whole argument text, which may be no JSON."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class HttpFailure:
    """An answer that is an HTTP error.

    Attributes:
        status: 400 to 599.
        message: For the dialect's own error body.
        type: The error's type in that body; empty means the usual one for the status.
        code: The error's code in that body.
        body: Sent instead of the dialect's error body: a JSON value, or text as it is.
        headers: Added to the response (`Retry-After` …).
    """

    status: int
    message: str
    type: str = ""
    code: str | None = None
    body: Any = field(default=None, hash=False)
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong on the way.

    Attributes:
        kind: `cut` ends the stream, `hang` stops sending and keeps the connection, `garbage` puts
            bytes into the stream that are no event.
        after_events: Beats that are sent first; None, only with `hang`, sends no response head either.
        is_clean: A cut ends the HTTP response properly, as a proxy does that lost its upstream.
        data: The garbage.
    """

    kind: FaultKind
    after_events: int | None = 0
    is_clean: bool = False
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class ReasoningBeat:
    """A piece of reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class TextBeat:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBeat:
    """A tool call begins."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsBeat:
    """A piece of a tool call's arguments; `so_far` counts characters including this piece."""

    index: int
    name: str
    text: str
    so_far: int


Beat: TypeAlias = ReasoningBeat | TextBeat | CallBeat | ArgumentsBeat


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply.

    Attributes:
        text: The visible answer in the pieces in which it is streamed.
        reasoning: Readable reasoning, likewise.
        calls: Tool calls, in order.
        finish_reason: As reported; `missing` reports none.
        usage: None reports none.
        delay_seconds: Wait before the first byte.
        chunk_delay_seconds: Wait between two beats.
        error: Answer with this HTTP error instead.
        fault: What goes wrong.
        extra: Further fields of a chat completion's message (`reasoning_details` …).
    """

    text: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    calls: tuple[AnswerCall, ...] = ()
    finish_reason: ScriptFinishReason = "stop"
    usage: Usage | None = None
    delay_seconds: float = 0.0
    chunk_delay_seconds: float = 0.0
    error: HttpFailure | None = None
    fault: Fault | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def full_text(self) -> str:
        """The visible answer."""
        return "".join(self.text)

    @property
    def full_reasoning(self) -> str:
        """The reasoning."""
        return "".join(self.reasoning)

    def beats(self) -> Iterator[Beat]:
        """The reply piece by piece: reasoning, text, calls."""
        for piece in self.reasoning:
            yield ReasoningBeat(piece)
        for piece in self.text:
            yield TextBeat(piece)
        for index, call in enumerate(self.calls):
            yield CallBeat(index, call.id, call.name)
            so_far = 0
            for piece in call.pieces:
                so_far += len(piece)
                yield ArgumentsBeat(index, call.name, piece, so_far)


def estimate_tokens(chars: int) -> int:
    """Tokens of so many characters: four to one, rounded up."""
    return -(-chars // 4)


def output_tokens(answer: Answer) -> tuple[int, int]:
    """Estimated (output, thereof reasoning) tokens of an answer."""
    reasoning = estimate_tokens(sum(map(len, answer.reasoning)))
    visible = sum(map(len, answer.text))
    visible += sum(len(call.name) + len(piece) for call in answer.calls for piece in (call.arguments,))
    return estimate_tokens(visible) + reasoning, reasoning


def split_text(text: str, size: int | None) -> tuple[str, ...]:
    """Cut text into pieces of `size` characters; None leaves it whole, empty text gives no piece."""
    if not text:
        return ()
    if size is None or size >= len(text):
        return (text,)
    return tuple(text[at : at + size] for at in range(0, len(text), size))


def to_json_text(value: object) -> str:
    """Readable JSON text on one line."""
    return json.dumps(value, ensure_ascii=False)


def call_id(request: ModelRequest, index: int) -> str:
    """A call id: the same for the same conversation, another for each request of a session."""
    last = repr(request.messages[-1]) if request.messages else ""
    key = f"{request.session_id}\n{len(request.messages)}\n{last}\n{index}"
    return f"call_{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:16]}"
