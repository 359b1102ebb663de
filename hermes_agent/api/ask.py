"""`Ask`: what a client wants of the agent, whatever endpoint it came by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hermes_agent.core.messages import Message, UserMessage
from hermes_agent.core.model import ReasoningEffort


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to the agent.

    Attributes:
        message: The input.
        history: What was said before, if the client keeps it.
        history_tokens: Estimate for it; 0 if nobody has made one.
        instructions: System messages of the client, layered over the agent's own prompt.
        model: The name the client used; only echoed.
        session_id: Goes on with this conversation.
        session_key: The client's own name of a conversation, made at first use.
        is_stored: Keep the conversation and the run; it survives the client's leaving.
        is_plain: A side request (title, tags): the model answers, without tools and prompt.
        events: Extension events the client wants (`fields.EVENT_KINDS`).
        ignored: Names of fields that have no effect here.
    """

    message: UserMessage
    history: Sequence[Message] = ()
    history_tokens: int = 0
    instructions: str = ""
    model: str = ""
    is_streamed: bool = False
    session_id: str | None = None
    session_key: str | None = None
    is_stored: bool = False
    is_plain: bool = False
    reasoning_effort: ReasoningEffort | None = None
    events: frozenset[str] = frozenset()
    ignored: Sequence[str] = ()

    @property
    def can_approve(self) -> bool:
        """Whether somebody sees approval requests and can answer them."""
        return "approvals" in self.events
