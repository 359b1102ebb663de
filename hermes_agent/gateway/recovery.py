"""What to do about a run that a killed process left."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hermes_agent.agent.session import NOTE_PREFIX, Session
from hermes_agent.core.errors import UsageError
from hermes_agent.core.messages import AssistantMessage, Message
from hermes_agent.gateway.replies import is_whole

MAX_ATTEMPTS = 10

GO_ON = (
    NOTE_PREFIX + "The program was restarted while you were working on the message below. What you did "
    "so far stands above. Go on where you stopped, do not repeat what is done, then answer.\n\n"
)

Step: TypeAlias = Literal["answered", "again", "go on"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What to do.

    Attributes:
        step: Send the answer that is there (`answered`), begin anew because nothing was done (`again`), or
            `go on` where it stopped.
        tail: What the run has added to the history.
    """

    step: Step
    tail: Sequence[Message] = ()


async def plan_recovery(session: Session | None, start: int) -> Recovery:
    """Look at the history; a run that has used no tool is taken back.

    Args:
        session: The session it worked in; None if that is gone.
        start: How many messages the session had before the run.
    """
    if session is None or len(session.messages) <= start:
        return Recovery("again")
    tail = session.messages[start:]
    last = tail[-1]
    if isinstance(last, AssistantMessage) and not last.tool_calls and is_whole(last):
        return Recovery("answered", tail)
    if not any(isinstance(each, AssistantMessage) and each.tool_calls for each in tail):
        with suppress(UsageError):
            while len(session.messages) > start:
                await session.undo()
        if len(session.messages) <= start:
            return Recovery("again")
    return Recovery("go on", tail)
