"""The delegation port: handing parts of a job to subagents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from hermes_agent.core.events import Outcome
from hermes_agent.core.model import Usage

Role: TypeAlias = Literal["leaf", "orchestrator"]
"""`orchestrator` may hand on parts itself, as deep as `delegation.max_spawn_depth` allows."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a subagent is to do. It knows nothing but this.

    Attributes:
        toolsets: Names of toolsets, within what the caller has itself; None for all of those.
    """

    goal: str
    context: str = ""
    toolsets: tuple[str, ...] | None = None
    role: Role = "leaf"


@dataclass(frozen=True, slots=True)
class ChildReport:
    """How a subagent ended, and what it says."""

    goal: str
    outcome: Outcome
    text: str
    error: tuple[str, ...] = ()
    turns: int = 0
    duration_seconds: float = 0.0
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Delegation:
    """What a session gives its tools (`SessionScope.find`).

    Attributes:
        run: (assignments, live output, tool call id) to their reports, in the same order; raises `ToolError`.
        start: The same in the background: calls back with the reports when all have ended.
    """

    run: Callable[[Sequence[Assignment], Callable[[str], None], str], Awaitable[Sequence[ChildReport]]]
    start: Callable[[Sequence[Assignment], Callable[[Sequence[ChildReport]], None]], None]
