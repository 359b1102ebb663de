"""The background review: after a run, a silent copy of the session asks what is worth keeping.

The copy shares the prompt prefix byte for byte (same system prompt, same tool list, same messages), so
that nearly all of its input comes from the provider's cache. All tools stay on offer for that reason;
those beside memory and skills refuse when they are called.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from hermes_agent.agent.session import NOTE_PREFIX, Session
from hermes_agent.core.approvals import Allowed, Verdict
from hermes_agent.core.errors import HermesError
from hermes_agent.core.events import RunFinished, ToolCallFinished
from hermes_agent.core.memory import Author
from hermes_agent.core.messages import AssistantMessage, UserMessage
from hermes_agent.core.model import ToolDefinition
from hermes_agent.core.tool import Tool, ToolContext, ToolResult

logger = logging.getLogger(__name__)

MEMORY_TOOL = "memory"
SKILL_TOOL = "skill_manage"
ALLOWED_TOOLS = frozenset({MEMORY_TOOL, SKILL_TOOL, "skills_list", "skill_view"})
MAX_REVIEW_TURNS = 8
REVIEW_SECONDS = 180.0
MAX_LINE = 200

# Short, because these are the only words of a review that no cache holds.
_INTRODUCTION = "Silent review: nobody reads your answer; only memory and skill tools work."
_MEMORY_TASK = (
    "Memory: did the user reveal something lasting (wishes, corrections, facts on machine or projects)? "
    "Save it, one short entry each; mend entries that proved wrong. Nothing on the task's progress."
)
_SKILL_TASK = (
    "Skills: was a way found, after trial and error or a correction, that will be needed again? Patch the "
    "skill that was used, or create one for this class of task."
)
_END = "Usually there is nothing new; then answer: Nothing to save."


class _FencedTool:
    """A tool that is offered, so that the prefix stays the same, and refuses."""

    def __init__(self, inner: Tool) -> None:
        self._inner = inner

    @property
    def definition(self) -> ToolDefinition:
        """The same bytes as in the session."""
        return self._inner.definition

    @property
    def emoji(self) -> str:
        """One character for progress displays."""
        return self._inner.emoji

    def is_parallel_safe(self, _arguments: Mapping[str, Any]) -> bool:
        """Refusing is safe."""
        return True

    def touched_paths(self, _arguments: Mapping[str, Any], _context: ToolContext) -> tuple[str, ...] | None:
        """None are touched."""
        return ()

    def preview(self, _arguments: Mapping[str, Any]) -> str:
        """Nobody looks."""
        return ""

    def review(self, _arguments: Mapping[str, Any], _context: ToolContext) -> Verdict:
        """Refusing needs no consent."""
        return Allowed()

    async def run(self, _arguments: Mapping[str, Any], _context: ToolContext) -> ToolResult:
        """Refuse."""
        name = self.definition.name
        return ToolResult(
            f"Error: {name} does not work in a review; only memory and skill tools do.", is_error=True
        )


@dataclass(slots=True)
class _Counts:
    """User turns and tool rounds since the last reviews of a session."""

    turns: int
    rounds: int
    is_busy: bool = False


class Reviewer:
    """Starts reviews when they are due; a run observer.

    Args:
        memory_every: User turns between reviews of memory; 0 is never.
        skills_every: Tool rounds between reviews of skills; 0 is never.
    """

    def __init__(self, *, memory_every: int, skills_every: int) -> None:
        self._memory_every = memory_every
        self._skills_every = skills_every
        self._counts: WeakKeyDictionary[Session, _Counts] = WeakKeyDictionary()

    def observe(self, session: Session, finished: RunFinished) -> None:
        """A run has ended: count it, and review if it is time. Returns at once."""
        if not session.is_stored or finished.outcome != "completed":
            return
        counts = self._counts.get(session)
        if counts is None:
            counts = self._counts[session] = _counts_of(session)
        else:
            counts.turns += 1
            counts.rounds += max(0, finished.turns - 1)
        offered = {tool.name for tool in session.tool_definitions}
        tasks = []
        if 0 < self._memory_every <= counts.turns and MEMORY_TOOL in offered:
            tasks.append(_MEMORY_TASK)
        if 0 < self._skills_every <= counts.rounds and SKILL_TOOL in offered:
            tasks.append(_SKILL_TASK)
        if not tasks or counts.is_busy:
            return
        counts.is_busy = True
        if _MEMORY_TASK in tasks:
            counts.turns = 0
        if _SKILL_TASK in tasks:
            counts.rounds = 0
        session.add_background(self._review(session, counts, tasks))

    async def _review(self, session: Session, counts: _Counts, tasks: Sequence[str]) -> None:
        try:
            turns, rounds = _totals(session)
            # Noted before the work: what is cut off by the end of the process is not repeated at each start.
            await session.keep_config(
                reviewed={"turns": turns - counts.turns, "rounds": rounds - counts.rounds}
            )
            saved = await review(session, tasks)
            if saved:
                session.tell(report(saved))
        except HermesError as error:
            logger.info("the review of session %s ended early: %s", session.id, error)
        finally:
            counts.is_busy = False


async def review(session: Session, tasks: Sequence[str]) -> list[str]:
    """Review a session now; gives a line for each thing that was saved or proposed.

    Tokens are added to the session's usage, its conversation stays as it is.
    """
    if session.needs_compaction():
        return []  # It would not fit, and shortening a copy would spend what the shared prefix saves.
    tools = [tool if tool.definition.name in ALLOWED_TOOLS else _FencedTool(tool) for tool in session.tools]
    copy = await session.fork(tools, max_turns=MAX_REVIEW_TURNS)
    copy.scope.state(Author).name = "review"
    text = "\n".join([_INTRODUCTION, *(f"- {task}" for task in tasks), _END])
    run = copy.start(UserMessage.of(NOTE_PREFIX + text), is_interactive=False)
    saved: list[str] = []
    try:
        async with asyncio.timeout(REVIEW_SECONDS):
            async for event in run:
                if (
                    isinstance(event, ToolCallFinished)
                    and event.name in (MEMORY_TOOL, SKILL_TOOL)
                    and not event.is_error
                ):
                    kind = "memory" if event.name == MEMORY_TOOL else "skill"
                    saved.append(f"{kind} {event.summary}")
    except TimeoutError:
        logger.info("the review of session %s took too long", session.id)
    finally:
        run.interrupt()
        finished = await run.result()
    if finished.usage.requests:
        await session.append((), usage=finished.usage)
    return saved


def report(saved: Sequence[str]) -> str:
    """One line for people."""
    line = "Learned: " + "; ".join(saved)
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"


def _totals(session: Session) -> tuple[int, int]:
    turns = sum(
        isinstance(message, UserMessage) and not message.text.startswith(NOTE_PREFIX)
        for message in session.messages
    )
    rounds = sum(
        isinstance(message, AssistantMessage) and bool(message.tool_calls) for message in session.messages
    )
    return turns, rounds


def _counts_of(session: Session) -> _Counts:
    """What was not reviewed yet of a session that this process has just opened."""
    turns, rounds = _totals(session)
    done = session.record.model_config.get("reviewed")
    if not isinstance(done, dict):
        return _Counts(turns, rounds)
    known = [value if isinstance(value, int) else 0 for value in (done.get("turns"), done.get("rounds"))]
    return _Counts(max(0, turns - known[0]), max(0, rounds - known[1]))
