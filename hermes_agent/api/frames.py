"""Streams of runs as clients get them: from run events to server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, Protocol

from hermes_agent.api.active import ActiveRun
from hermes_agent.api.answer import chat_usage
from hermes_agent.api.sse import DONE, Frame
from hermes_agent.api.wire import MAX_LINE_BYTES, dumps, fitting
from hermes_agent.core.events import (
    ApprovalRequested,
    ReasoningDelta,
    RunEvent,
    RunFinished,
    ToolCallFinished,
    ToolCallStarted,
)

PIECE_CHARS: Final = 8_000
"""Longer texts are sent in several events; in JSON a character takes at most six bytes."""

MAX_DATA_BYTES: Final = MAX_LINE_BYTES - 512

_text: Final = json.JSONEncoder(check_circular=False).encode


class Translator(Protocol):
    """Makes one kind of stream."""

    def begin(self, active: ActiveRun) -> Iterator[Frame]:
        """What comes before the first event."""
        ...

    def take(self, active: ActiveRun, event: RunEvent) -> Iterator[Frame]:
        """What an event gives; called once for each, `RunFinished` last."""
        ...


def pieces(text: str) -> Iterator[str]:
    """A text in parts that fit a line."""
    if len(text) <= PIECE_CHARS:
        yield text
        return
    for start in range(0, len(text), PIECE_CHARS):
        yield text[start : start + PIECE_CHARS]


def approval_data(active: ActiveRun, event: ApprovalRequested) -> dict[str, Any]:
    """An approval request for clients: what would run, why it is asked, where to answer."""
    request = event.request
    return {
        "run_id": active.run.id,
        "request_id": request.id,
        "tool": request.tool_name,
        "toolCallId": request.tool_call_id,
        "action": request.action,
        "reasons": list(request.reasons),
        "timeout_seconds": request.timeout_seconds,
        "choices": ["once", "session", "always", "deny"],
        "answer_at": f"/v1/runs/{active.run.id}/approval",
    }


class ChatFrames:
    """Chunks of a chat completion."""

    def __init__(self, completion_id: str, created: int, model: str, *, has_usage_chunk: bool) -> None:
        self._head = (
            f'{{"id":{_text(completion_id)},"object":"chat.completion.chunk","created":{created},'
            f'"model":{_text(model)},"system_fingerprint":null,'
        )
        self._has_usage_chunk = has_usage_chunk

    def _chunk(self, delta: str, finish_reason: str = "null", more: str = "") -> Frame:
        return Frame(
            "",
            f'{self._head}"choices":[{{"index":0,"delta":{delta},"logprobs":null,'
            f'"finish_reason":{finish_reason}}}]{more}}}',
        )

    def begin(self, active: ActiveRun) -> Iterator[Frame]:
        """The role chunk."""
        del active
        yield self._chunk('{"role":"assistant","content":""}')

    def take(self, active: ActiveRun, event: RunEvent) -> Iterator[Frame]:
        """Deltas, opt-in events, the end."""
        if text := active.take(event):
            for piece in pieces(text):
                yield self._chunk(f'{{"content":{_text(piece)}}}')
        events = active.ask.events
        if isinstance(event, ToolCallStarted | ToolCallFinished) and "tools" in events:
            yield _tool_progress(event)
        elif isinstance(event, ReasoningDelta) and "reasoning" in events:
            for piece in pieces(event.text):
                yield self._chunk(f'{{"reasoning_content":{_text(piece)}}}')
        elif isinstance(event, ApprovalRequested) and "approvals" in events:
            data = fitting(approval_data(active, event), MAX_DATA_BYTES)
            yield Frame("hermes.approval.requested", data)
        elif isinstance(event, RunFinished):
            yield from self._end(active)

    def _end(self, active: ActiveRun) -> Iterator[Frame]:
        answer = active.answer
        usage = dumps(chat_usage(answer.usage))
        more = "" if self._has_usage_chunk else f',"usage":{usage}'
        yield self._chunk("{}", _text(answer.finish_reason), more)
        if self._has_usage_chunk:
            yield Frame("", f'{self._head}"choices":[],"usage":{usage}}}')
        if (error := answer.error) is not None:
            yield Frame("", fitting(error.body, MAX_DATA_BYTES))
        yield DONE


def _tool_progress(event: ToolCallStarted | ToolCallFinished) -> Frame:
    is_start = isinstance(event, ToolCallStarted)
    data: dict[str, Any] = {
        "tool": event.name,
        "emoji": event.emoji if isinstance(event, ToolCallStarted) else "",
        "label": (event.preview if isinstance(event, ToolCallStarted) else event.summary)[:500],
        "toolCallId": event.tool_call_id,
        "status": "running" if is_start else "completed",
    }
    if isinstance(event, ToolCallFinished):
        data["is_error"] = event.is_error
        data["duration_seconds"] = round(event.duration_seconds, 3)
    return Frame("hermes.tool.progress", dumps(data))
