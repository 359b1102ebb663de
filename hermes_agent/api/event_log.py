"""The events of a stored run: kept, followed while they come, and replayed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

from hermes_agent.api.sse import Frame
from hermes_agent.core.errors import StoreError
from hermes_agent.core.runs import LoggedEvent, RunStatus, RunStore, StoredRun

_LOG = logging.getLogger(__name__)

KEPT_SECONDS: Final = 3600.0
"""How long a run and its events can be asked for."""

_WRITE_SECONDS: Final = 0.25
_PAGE: Final = 500


class Follower:
    """Somebody who reads a log, and may leave."""

    def __init__(self) -> None:
        self.has_left = False
        self.log: EventLog | None = None

    def leave(self) -> None:
        """Read no further."""
        self.has_left = True
        if self.log is not None:
            self.log.wake()


class EventLog:
    """Events of one run, numbered from 1. What is written to disk lags by a fraction of a second."""

    def __init__(self, store: RunStore, run: StoredRun) -> None:
        self.run = run
        self.is_closed = False
        self._store = store
        self._events: list[LoggedEvent] = []
        self._written = 0
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Write down that the run exists. Raises `StoreError`."""
        await self._store.save_run(self.run)

    def append(self, frame: Frame) -> None:
        """Add an event."""
        self._events.append(LoggedEvent(len(self._events) + 1, frame.name, frame.data))
        self.wake()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITE_SECONDS, self._write_soon)

    def wake(self) -> None:
        """Let followers look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _write_soon(self) -> None:
        self._timer = None
        self._task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        async with self._writing:
            events = self._events[self._written :]
            try:
                await self._store.save_run(self.run, events)
                self._written += len(events)
            except StoreError as error:
                _LOG.warning("events of run %s are not stored: %s", self.run.id, error)

    async def close(self, status: RunStatus, facts: dict[str, Any]) -> None:
        """No more events; write down how it ended."""
        self.run = replace(self.run, status=status, facts={**self.run.facts, **facts})
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._write()
        self.is_closed = True
        self.wake()

    async def follow(self, after: int, follower: Follower) -> AsyncIterator[LoggedEvent]:
        """Events with higher numbers, those to come included, until the end."""
        follower.log = self
        position = max(0, after)
        while True:
            changed = self._changed
            while position < len(self._events) and not follower.has_left:
                yield self._events[position]
                position += 1
            if self.is_closed or follower.has_left:
                return
            await changed.wait()

    async def wait(self) -> None:
        """Wait for the end."""
        while not self.is_closed:
            await self._changed.wait()


class EventLogs:
    """The logs that are being written, and those on disk."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._open: dict[str, EventLog] = {}
        self._purged_at = 0.0

    async def create(self, run_id: str, owner: str, facts: dict[str, Any]) -> EventLog:
        """A new log. Raises `StoreError`."""
        await self._purge()
        log = EventLog(self._store, StoredRun(run_id, owner, "in_progress", time.time(), facts))
        await log.open()
        self._open[run_id] = log
        return log

    async def close(self, log: EventLog, status: RunStatus, facts: dict[str, Any]) -> None:
        """The run has ended."""
        await log.close(status, facts)
        self._open.pop(log.run.id, None)

    async def delete(self, run_id: str) -> None:
        """Forget a run that has ended."""
        await self._store.delete_run(run_id)

    def get_open(self, run_id: str, owner: str) -> EventLog | None:
        """The log of a run that goes on."""
        log = self._open.get(run_id)
        return log if log is not None and log.run.owner == owner else None

    async def get_run(self, run_id: str, owner: str) -> StoredRun | None:
        """A run of this key. One that a stopped process left is `incomplete`."""
        log = self._open.get(run_id)
        run = log.run if log is not None else await self._store.get_run(run_id)
        if run is None or run.owner != owner or run.created_at < time.time() - KEPT_SECONDS:
            return None
        if log is None and run.status in ("queued", "in_progress"):
            return replace(run, status="incomplete")
        return run

    async def follow(
        self, run_id: str, owner: str, after: int, follower: Follower
    ) -> AsyncIterator[LoggedEvent]:
        """Events of a run, from memory or from disk."""
        log = self.get_open(run_id, owner)
        if log is not None:
            async for event in log.follow(after, follower):
                yield event
            return
        while not follower.has_left and (page := await self._store.events(run_id, after=after, limit=_PAGE)):
            for event in page:
                yield event
            after = page[-1].number

    async def _purge(self) -> None:
        now = time.time()
        if now - self._purged_at > 60:
            self._purged_at = now
            await self._store.purge(now - KEPT_SECONDS)
