"""The run-event union: what a run emits and every surface renders.

Events of a run are ordered; the first is `RunStarted`, the last is `RunFinished`, always.
`to_json` is the wire form of `hermes --json` (documented in docs/events.md).
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from hermes_agent.core.approvals import ApprovalRequest, Decision, Question
from hermes_agent.core.model import ModelInfo, Usage

Outcome: TypeAlias = Literal["completed", "interrupted", "failed", "budget_exhausted", "truncated"]
"""How a run ended.

`truncated`: the model hit its output limit and could not finish; the text so far is kept.
`budget_exhausted`: `agent.max_turns` was used up; the text is a summary of where things stand.
"""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins."""

    run_id: str
    session_id: str
    model: ModelInfo


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A model request is about to be sent. `number` counts from 1."""

    number: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer; already stored when it is shown."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of readable reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class TurnRestarted:
    """The request is made again: discard this turn's text and reasoning."""

    reason: str
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """A tool begins."""

    tool_call_id: str
    name: str
    preview: str
    arguments: str
    emoji: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallProgress:
    """Live output of a tool."""

    tool_call_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallFinished:
    """A tool ended. `text` is what the model reads."""

    tool_call_id: str
    name: str
    text: str
    summary: str
    is_error: bool
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class ApprovalRequested:
    """A person must decide; answer with `Run.decide(request.id, …)`."""

    request: ApprovalRequest


@dataclass(frozen=True, slots=True)
class ApprovalResolved:
    """A decision was made, by a person, by policy or by time-out."""

    request_id: str
    decision: Decision
    by: str


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """The agent asks; answer with `Run.answer(question.id, …)`."""

    question: Question


@dataclass(frozen=True, slots=True)
class UsageUpdated:
    """Tokens of this run so far, and how full the context window is."""

    usage: Usage
    context_tokens: int
    context_window: int


@dataclass(frozen=True, slots=True)
class CompactionStarted:
    """The history is being shortened."""

    tokens: int


@dataclass(frozen=True, slots=True)
class CompactionFinished:
    """The history was shortened, or stayed as it was (`error` says why)."""

    tokens: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the person should know."""

    text: str
    level: Literal["info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run ended.

    Attributes:
        text: The final answer; with `interrupted` or `failed`, what there is of it.
        error: For people, with `failed`: up to three lines, what, why, what next.
        exit_code: What a one-shot command should exit with.
        error_type: Class of the `HermesError` behind a failure, if there was one.
    """

    outcome: Outcome
    text: str
    usage: Usage
    turns: int
    duration_seconds: float
    error: tuple[str, ...] = ()
    exit_code: int = 0
    error_type: str = ""


RunEvent: TypeAlias = (
    RunStarted
    | TurnStarted
    | TextDelta
    | ReasoningDelta
    | TurnRestarted
    | ToolCallStarted
    | ToolCallProgress
    | ToolCallFinished
    | ApprovalRequested
    | ApprovalResolved
    | QuestionAsked
    | UsageUpdated
    | CompactionStarted
    | CompactionFinished
    | Notice
    | RunFinished
)

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def to_json(event: RunEvent) -> dict[str, Any]:
    """The event as a JSON-compatible dict with a snake_case `type`."""
    return {"type": _WORD.sub("_", type(event).__name__).lower(), **dataclasses.asdict(event)}
