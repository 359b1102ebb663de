"""Bringing a run to its client: attached to the connection, or stored and followed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from hermes_agent.api.active import ActiveRun, ActiveRuns
from hermes_agent.api.call import Call
from hermes_agent.api.event_log import EventLog, EventLogs, Follower
from hermes_agent.api.frames import Translator
from hermes_agent.api.sse import Frame, encode
from hermes_agent.core.errors import HermesError
from hermes_agent.core.events import RunFinished
from hermes_agent.core.runs import LoggedEvent, RunStatus

_LOG = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

Finish = Callable[[ActiveRun], Awaitable[dict[str, Any]]]
"""Called when a stored run has ended, before its log is closed; gives facts for it."""


class Conductor:
    """Runs, their logs, and how both get to clients."""

    def __init__(self, runs: ActiveRuns, logs: EventLogs) -> None:
        self.runs = runs
        self.logs = logs

    async def stream(self, call: Call, active: ActiveRun, translator: Translator) -> None:
        """Stream an unstored run; it is stopped when the client leaves."""
        try:
            await call.stream(_frames(active, translator), active.run.interrupt)
        finally:
            await self.runs.end(active)

    async def collect(self, call: Call, active: ActiveRun, translator: Translator | None = None) -> None:
        """Wait for an unstored run to end; it is stopped when the client leaves."""
        watch = asyncio.create_task(call.watch(active.run.interrupt))
        try:
            if translator is None:
                async for event in active.run:
                    active.take(event)
            else:
                async for _ in _frames(active, translator):
                    pass
        finally:
            watch.cancel()
            await self.runs.end(active)

    async def survive(self, call: Call, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Do something to its end, also if the client leaves."""
        task: asyncio.Task[ResultT] = self.runs.spawn(work, f"detached-{call.id}")
        return await asyncio.shield(task)

    async def record(
        self, active: ActiveRun, translator: Translator, log_id: str, facts: dict[str, Any], finish: Finish
    ) -> EventLog:
        """Let a run go on by itself; its log can be followed.

        Raises:
            StoreError: It cannot be kept; then it is stopped.
        """
        try:
            log = await self.logs.create(log_id, active.owner, facts)
        except BaseException:
            await self.runs.end(active)
            raise
        self.runs.spawn(self._record(active, translator, log, finish), f"record-{log_id}")
        return log

    async def _record(self, active: ActiveRun, translator: Translator, log: EventLog, finish: Finish) -> None:
        facts: dict[str, Any] = {}
        status: RunStatus = "failed"
        is_ended = False
        try:
            for frame in translator.begin(active):
                log.append(frame)
            async for event in active.run:
                frames = list(translator.take(active, event))
                if isinstance(event, RunFinished):
                    # First the session, so that a client who has read the last event can go on at once.
                    status = run_status(active)
                    facts = await self._finish(active, finish)
                    is_ended = True
                    await self.runs.end(active)
                for frame in frames:
                    log.append(frame)
        finally:
            if not is_ended:
                await self.runs.end(active)
            await self.logs.close(log, status, facts)

    async def _finish(self, active: ActiveRun, finish: Finish) -> dict[str, Any]:
        try:
            return await finish(active)
        except HermesError as error:
            _LOG.warning("the result of run %s is not stored: %s", active.run.id, error)
            return {}

    async def follow(self, call: Call, log_id: str, owner: str, *, after: int = 0) -> None:
        """Stream the events of a stored run; its client may leave and come back."""
        follower = Follower()
        events = self.logs.follow(log_id, owner, after, follower)
        await call.stream(_encoded(events), follower.leave)


async def _frames(active: ActiveRun, translator: Translator) -> AsyncIterator[bytes]:
    for frame in translator.begin(active):
        yield encode(frame)
    async for event in active.run:
        for frame in translator.take(active, event):
            yield encode(frame)


async def _encoded(events: AsyncIterator[LoggedEvent]) -> AsyncIterator[bytes]:
    async for event in events:
        yield encode(Frame(event.name, event.data), event.number)


def run_status(active: ActiveRun) -> RunStatus:
    """How the run ended, in OpenAI's words."""
    finished = active.answer.finished
    if finished is None:
        return "failed"
    words: dict[str, RunStatus] = {
        "completed": "completed",
        "interrupted": "cancelled",
        "failed": "failed",
        "budget_exhausted": "incomplete",
        "truncated": "incomplete",
    }
    return words[finished.outcome]
