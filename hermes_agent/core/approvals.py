"""Approval: human consent to one exact action.

A tool classifies its own call (`core.tool.Tool.review`); the agent decides with policy and, if the
policy says so, asks the person through the surface that shows the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Decision: TypeAlias = Literal["once", "session", "always", "deny"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Nothing to ask."""


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """Ask first.

    Attributes:
        action: The exact action, as it will be run (approval is bound to this text).
        reasons: Why it is considered risky, for people.
        rules: Stable ids of the rules that matched; `session` and `always` remember these.
    """

    action: str
    reasons: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Never run, whoever agrees (the hard floor)."""

    action: str
    reason: str


Verdict: TypeAlias = Allowed | NeedsApproval | Forbidden


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A question to the person. `timeout_seconds` without an answer means `deny`."""

    id: str
    tool_call_id: str
    tool_name: str
    action: str
    reasons: tuple[str, ...]
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Question:
    """A clarifying question of the agent; at most four choices, free text is always possible."""

    id: str
    text: str
    choices: tuple[str, ...] = ()
    timeout_seconds: float = 600.0
