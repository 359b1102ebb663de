"""`Run`: the handle a surface holds while the agent works.

The surface iterates the events and may interrupt, steer, decide and answer. Everything else about a
run happens in `agent.loop`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from hermes_agent.core.approvals import ApprovalRequest, Decision, Question
from hermes_agent.core.events import (
    ApprovalRequested,
    ApprovalResolved,
    QuestionAsked,
    RunEvent,
    RunFinished,
)
from hermes_agent.core.model import Usage

AnswerT = TypeVar("AnswerT")


class Run:
    """One input to its end.

    Iterate it once to receive the events; the last one is always `RunFinished`. Events that nobody
    reads are kept, so a surface may also just await `result()`.

    Args:
        is_interactive: Whether a person can be asked.
        approver: Who decides instead of the person at this run's surface (the caller of a subagent).
    """

    def __init__(
        self,
        *,
        is_interactive: bool = True,
        approver: Callable[[ApprovalRequest], Awaitable[Decision]] | None = None,
    ) -> None:
        self.id = f"run_{secrets.token_hex(12)}"
        self._approver = approver
        self.is_interactive = is_interactive
        self._events: asyncio.Queue[RunEvent] = asyncio.Queue()
        self._decisions: dict[str, asyncio.Future[tuple[Decision, str]]] = {}
        self._answers: dict[str, asyncio.Future[str]] = {}
        self._steering: list[str] = []
        self._finished: asyncio.Future[RunFinished] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._is_interrupted = False

    def begin(self, work: Callable[[Run], Awaitable[None]]) -> None:
        """Start the work; called once, by the session."""

        async def guarded() -> None:
            await work(self)

        self._task = asyncio.create_task(guarded(), name=self.id)
        self._task.add_done_callback(self._on_done)

    def emit(self, event: RunEvent) -> None:
        """Hand an event to the surface. Nothing follows `RunFinished`."""
        if self._finished.done():
            return
        self._events.put_nowait(event)
        if isinstance(event, RunFinished):
            self._finished.set_result(event)

    async def __aiter__(self) -> AsyncIterator[RunEvent]:
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, RunFinished):
                return

    async def result(self) -> RunFinished:
        """Wait for the end."""
        return await asyncio.shield(self._finished)

    def add_done_callback(self, callback: Callable[[RunFinished], None]) -> None:
        """Call back on the event loop when the run has ended."""
        self._finished.add_done_callback(lambda future: callback(future.result()))

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended."""
        return self._finished.done()

    @property
    def is_interrupted(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._is_interrupted

    def interrupt(self) -> None:
        """Stop as soon as possible; what was done and shown so far is kept. Idempotent."""
        if self._is_interrupted or self._task is None or self._finished.done():
            return
        self._is_interrupted = True
        self._task.cancel()

    def steer(self, text: str) -> None:
        """Say something to the agent without stopping it; it reads this with its next turn."""
        self._steering.append(text)

    def take_steering(self) -> str:
        """All steering text since the last call, joined; empty if there is none."""
        text = "\n".join(self._steering)
        self._steering.clear()
        return text

    def decide(self, request_id: str, decision: Decision, *, by: str = "user") -> bool:
        """Answer an approval request; False if it is no longer open."""
        future = self._decisions.get(request_id)
        if future is None or future.done():
            return False
        future.set_result((decision, by))
        return True

    def answer(self, question_id: str, text: str) -> bool:
        """Answer a clarifying question; False if it is no longer open."""
        future = self._answers.get(question_id)
        if future is None or future.done():
            return False
        future.set_result(text)
        return True

    async def request_approval(self, request: ApprovalRequest) -> Decision:
        """Ask the person; no answer in time, or nobody there, means `deny`."""
        if self._approver is not None:
            return await self._approver(request)
        if not self.is_interactive:
            decision: Decision = "deny"
            by = "nobody can be asked"
        else:
            self.emit(ApprovalRequested(request))
            answered = await self._wait_for(self._decisions, request.id, request.timeout_seconds)
            decision, by = answered if answered is not None else ("deny", "time-out")
        self.emit(ApprovalResolved(request.id, decision, by))
        return decision

    async def ask(self, question: Question) -> str | None:
        """Ask the person; None if nobody answers in time."""
        if not self.is_interactive:
            return None
        self.emit(QuestionAsked(question))
        return await self._wait_for(self._answers, question.id, question.timeout_seconds)

    async def _wait_for(
        self, table: dict[str, asyncio.Future[AnswerT]], key: str, timeout_seconds: float
    ) -> AnswerT | None:
        future: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        table[key] = future
        try:
            return await asyncio.wait_for(future, timeout_seconds)
        except TimeoutError:
            return None
        finally:
            table.pop(key, None)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if self._finished.done():
            return
        error: tuple[str, ...] = ()
        if not task.cancelled() and (failure := task.exception()) is not None:
            error = (f"Internal error: {failure!r}",)
        outcome: RunFinished = RunFinished(
            outcome="failed" if error else "interrupted",
            text="",
            usage=Usage(),
            turns=0,
            duration_seconds=0.0,
            error=error,
            exit_code=70 if error else 130,
        )
        self.emit(outcome)
