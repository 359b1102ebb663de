"""Runs that are going on, whatever endpoint started them: to stop them, and to answer their questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from hermes_agent.agent.run import Run
from hermes_agent.agent.session import Session
from hermes_agent.api.answer import Answer
from hermes_agent.api.ask import Ask
from hermes_agent.api.errors import ApiError
from hermes_agent.api.sessions import Sessions
from hermes_agent.core.approvals import ApprovalRequest
from hermes_agent.core.events import ApprovalRequested, ApprovalResolved, RunEvent

MOST_ACTIVE = 1_000
"""More runs than this at once are refused, before the memory is."""


@dataclass(slots=True)
class ActiveRun:
    """A run of a session that was taken for it.

    Attributes:
        pending: Approval requests that are open, by id.
    """

    run: Run
    session: Session
    owner: str
    ask: Ask
    answer: Answer
    pending: dict[str, ApprovalRequest] = field(default_factory=dict)

    def take(self, event: RunEvent) -> str:
        """Note an event; returns text to show now."""
        if isinstance(event, ApprovalRequested):
            self.pending[event.request.id] = event.request
        elif isinstance(event, ApprovalResolved):
            self.pending.pop(event.request_id, None)
        return self.answer.take(event)


class ActiveRuns:
    """Starts runs and knows them until they have ended."""

    def __init__(self, sessions: Sessions, on_end: Callable[[ActiveRun], None]) -> None:
        self.sessions = sessions
        self._on_end = on_end
        self._runs: dict[str, ActiveRun] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.is_draining = False

    @property
    def count(self) -> int:
        """Runs that are going on."""
        return len(self._runs)

    async def start(self, ask: Ask, owner: str, *, session: Session | None = None) -> ActiveRun:
        """Open the session and begin; end it with `end`, always.

        Raises:
            ApiError: The session is unknown or busy, or there is too much to do.
            HermesError: The session cannot be opened.
        """
        self.check_room()
        taken = session or await self.sessions.take(ask, owner)
        try:
            run = taken.start(ask.message, is_interactive=ask.can_approve)
        except BaseException:
            await self.sessions.give_back(taken)
            raise

        def last_finish_reason() -> str:
            messages = taken.messages
            return str(getattr(messages[-1], "finish_reason", "stop")) if messages else "stop"

        active = ActiveRun(run, taken, owner, ask, Answer(last_finish_reason))
        self._runs[run.id] = active
        return active

    def check_room(self) -> None:
        """Raises `ApiError` 503 while the server is stopping, 429 if too much is going on."""
        if self.is_draining:
            raise ApiError(503, "The server is stopping", code="shutting_down", headers={"Retry-After": "5"})
        if len(self._runs) >= MOST_ACTIVE:
            raise ApiError(429, "Too many runs at once", code="too_many_runs", headers={"Retry-After": "1"})

    async def end(self, active: ActiveRun) -> None:
        """Stop the run if it still goes on, and give the session back."""
        if not active.run.is_finished:
            active.run.interrupt()
            await active.run.result()
        self._runs.pop(active.run.id, None)
        self._on_end(active)
        await self.sessions.give_back(active.session, ask=active.ask, owner=active.owner)

    def get(self, run_id: str, owner: str) -> ActiveRun | None:
        """A run of this key that is going on."""
        active = self._runs.get(run_id)
        return active if active is not None and active.owner == owner else None

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Do something that outlives its request."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self) -> None:
        """Take nothing new and wait for what is going on."""
        self.is_draining = True
        while self._runs or self._tasks:
            waiting = [*(active.run.result() for active in self._runs.values())]
            await asyncio.gather(*waiting, *self._tasks, return_exceptions=True)
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Stop everything."""
        self.is_draining = True
        for active in list(self._runs.values()):
            active.run.interrupt()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5)
        for task in list(self._tasks):
            task.cancel()
        await self.sessions.aclose()
