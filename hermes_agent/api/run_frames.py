"""Events of the runs API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from hermes_agent.api.active import ActiveRun
from hermes_agent.api.answer import response_usage
from hermes_agent.api.conduct import run_status
from hermes_agent.api.frames import MAX_DATA_BYTES, approval_data, pieces
from hermes_agent.api.sse import Frame
from hermes_agent.api.wire import fitting
from hermes_agent.core.events import (
    ApprovalRequested,
    ApprovalResolved,
    CompactionFinished,
    Notice,
    ReasoningDelta,
    RunEvent,
    RunFinished,
    ToolCallFinished,
    ToolCallProgress,
    ToolCallStarted,
    TurnRestarted,
    UsageUpdated,
)


class RunFrames:
    """Everything that happens in a run, by name."""

    def begin(self, active: ActiveRun) -> Iterator[Frame]:
        """The run exists."""
        yield _frame(active, "run.started", session_id=active.session.id)

    def take(self, active: ActiveRun, event: RunEvent) -> Iterator[Frame]:
        """What an event gives."""
        if text := active.take(event):
            for piece in pieces(text):
                yield _frame(active, "message.delta", delta=piece)
        if isinstance(event, RunFinished):
            yield _ending(active, event)
        elif isinstance(event, ReasoningDelta):
            for piece in pieces(event.text):
                yield _frame(active, "reasoning.delta", delta=piece)
        elif (named := _tool(event) or _other(active, event)) is not None:
            name, fields = named
            yield _frame(active, name, **fields)


def _frame(active: ActiveRun, name: str, /, **fields: Any) -> Frame:
    value = {"event": name, "run_id": active.run.id, "timestamp": round(time.time(), 3), **fields}
    return Frame(name, fitting(value, MAX_DATA_BYTES))


def _tool(event: RunEvent) -> tuple[str, dict[str, Any]] | None:
    if isinstance(event, ToolCallStarted):
        return "tool.started", {
            "tool": event.name,
            "tool_call_id": event.tool_call_id,
            "preview": event.preview,
            "arguments": event.arguments,
            "emoji": event.emoji,
        }
    if isinstance(event, ToolCallProgress):
        return "tool.progress", {"tool_call_id": event.tool_call_id, "output": event.text}
    if isinstance(event, ToolCallFinished):
        return "tool.completed", {
            "tool": event.name,
            "tool_call_id": event.tool_call_id,
            "output": event.text,
            "summary": event.summary,
            "is_error": event.is_error,
            "duration": round(event.duration_seconds, 3),
        }
    return None


def _other(active: ActiveRun, event: RunEvent) -> tuple[str, dict[str, Any]] | None:
    if isinstance(event, ApprovalRequested):
        return "approval.request", approval_data(active, event)
    if isinstance(event, ApprovalResolved):
        return "approval.resolved", {
            "request_id": event.request_id,
            "decision": event.decision,
            "by": event.by,
        }
    if isinstance(event, Notice):
        return "notice", {"level": event.level, "text": event.text}
    if isinstance(event, TurnRestarted):
        return "notice", {"level": "info", "text": f"Asking again: {event.reason}"}
    if isinstance(event, CompactionFinished):
        return "compaction.completed", {"tokens": event.tokens, "error": event.error}
    if isinstance(event, UsageUpdated):
        return "usage", {
            "usage": response_usage(event.usage),
            "context_tokens": event.context_tokens,
            "context_window": event.context_window,
        }
    return None


def _ending(active: ActiveRun, event: RunFinished) -> Frame:
    answer = active.answer
    fields: dict[str, Any] = {
        "session_id": active.session.id,
        "output": answer.text,
        "usage": response_usage(event.usage),
        "turns": event.turns,
        "duration": round(event.duration_seconds, 3),
    }
    if answer.error is not None:
        fields["error"] = answer.error.body["error"]
    return _frame(active, f"run.{run_status(active)}", **fields)
