"""Playing an `Answer` through the `Model` port: what a dialect would have made of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NoReturn

from hermes_agent.core.errors import (
    ContextOverflowError,
    ModelAuthError,
    ModelError,
    ModelNotFoundError,
    ModelQuotaError,
    ModelRateLimitError,
    ModelRequestError,
    ModelResponseError,
    ModelServerError,
    StreamCutError,
)
from hermes_agent.core.messages import AssistantMessage, FinishReason, ToolCall
from hermes_agent.core.model import (
    ModelEvent,
    ModelInfo,
    ModelReply,
    ReasoningChunk,
    TextChunk,
    ToolCallChunk,
    Usage,
)
from hermes_agent.models.scripted.answer import (
    Answer,
    ArgumentsBeat,
    Beat,
    CallBeat,
    Fault,
    HttpFailure,
    ReasoningBeat,
    TextBeat,
)

_BY_STATUS: dict[int, type[ModelError]] = {
    401: ModelAuthError,
    402: ModelQuotaError,
    403: ModelAuthError,
    404: ModelNotFoundError,
    429: ModelRateLimitError,
}


async def play(answer: Answer, info: ModelInfo) -> AsyncIterator[ModelEvent]:
    """Stream an answer, or fail as it says.

    Raises:
        ModelError: The answer is an HTTP error or breaks off; of the class a dialect would raise.
    """
    if answer.delay_seconds:
        await asyncio.sleep(answer.delay_seconds)
    if answer.error is not None:
        raise http_error(answer.error, info)
    fault = answer.fault
    if fault is not None and fault.after_events is None:
        await _fail(fault, "")
    said = ""
    for sent, beat in enumerate(answer.beats()):
        if fault is not None and sent == fault.after_events:
            await _fail(fault, said)
        if sent and answer.chunk_delay_seconds:
            await asyncio.sleep(answer.chunk_delay_seconds)
        if isinstance(beat, TextBeat):
            said += beat.text
        yield _event(beat)
        if sent % 64 == 63:
            await asyncio.sleep(0)  # a long answer must not hold the loop
    if fault is not None:
        await _fail(fault, said)
    yield ModelReply(_message(answer), answer.usage or Usage(requests=1), info)


def _event(beat: Beat) -> ModelEvent:
    match beat:
        case ReasoningBeat(text):
            return ReasoningChunk(text)
        case TextBeat(text):
            return TextChunk(text)
        case CallBeat(name=name):
            return ToolCallChunk(name, 0)
        case ArgumentsBeat(name=name, so_far=so_far):
            return ToolCallChunk(name, so_far)


def _message(answer: Answer) -> AssistantMessage:
    reason: FinishReason
    if answer.finish_reason == "missing":
        reason = "tool_calls" if answer.calls else "stop"
    else:
        reason = answer.finish_reason
    return AssistantMessage(
        text=answer.full_text,
        tool_calls=tuple(ToolCall(call.id, call.name, call.arguments) for call in answer.calls),
        reasoning=answer.full_reasoning or None,
        provider_data=dict(answer.extra) or None,
        finish_reason=reason,
    )


async def _fail(fault: Fault, said: str) -> NoReturn:
    if fault.kind == "hang":
        await asyncio.Event().wait()
    if fault.kind == "garbage":
        raise ModelResponseError("The reply cannot be understood", partial_text=said, why="scripted garbage")
    raise StreamCutError("The stream ended before the answer did", partial_text=said, why="scripted cut")


def http_error(failure: HttpFailure, info: ModelInfo) -> ModelError:
    """The error of the port for a scripted HTTP error."""
    kind = _BY_STATUS.get(failure.status)
    if kind is None:
        kind = ModelServerError if failure.status >= 500 else ModelRequestError
    if failure.code == "context_length_exceeded":
        kind = ContextOverflowError
    headers = {name.lower(): value for name, value in failure.headers.items()}
    try:
        retry_after = float(headers["retry-after"])
    except (KeyError, ValueError):
        retry_after = None
    return kind(
        f"{info.label} answered {failure.status}",
        status=failure.status,
        retry_after_seconds=retry_after,
        why=failure.message if failure.body is None else str(failure.body),
        diagnostics={name: value for name, value in headers.items() if "request-id" in name},
    )
