"""Keeps services running: a task each, started again after a failure while the others go on."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hermes_agent.core.errors import ConfigError, HermesError
from hermes_agent.core.surface import Health, Service

_LOG = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
_STEADY_SECONDS = 60.0
"""After this long without a failure the pauses begin anew."""


@dataclass
class Supervised:
    """One service and what became of it.

    Attributes:
        problem: Why it does not run; empty while it does.
        restarts: How often it was started again.
        since: Unix time of the last change.
    """

    service: Service
    problem: str = ""
    restarts: int = 0
    since: float = field(default_factory=time.time)
    is_running: bool = False
    reloaded: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def health(self) -> Health:
        """The service's own word while it runs, otherwise why it does not."""
        if self.problem:
            return Health("degraded", self.problem)
        return self.service.health() if self.is_running else Health("starting")


class Supervisor:
    """Runs services until cancelled.

    Args:
        services: In the order of starting; they are stopped in reverse.
        on_change: Called when one fails or recovers.
    """

    def __init__(self, services: Sequence[Service], on_change: Callable[[], None] = lambda: None) -> None:
        self.services = [Supervised(service) for service in services]
        self._on_change = on_change
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all."""
        self._tasks = [self._start(each) for each in self.services]

    def add(self, service: Service) -> None:
        """Start one more, which a reload has brought."""
        each = Supervised(service)
        self.services.append(each)
        self._tasks.append(self._start(each))

    def _start(self, each: Supervised) -> asyncio.Task[None]:
        return asyncio.create_task(self._keep(each), name=f"service {each.service.name}")

    async def settle(self) -> None:
        """Wait until every service has started or failed once."""
        await asyncio.gather(*(each.settled.wait() for each in self.services))

    async def drain(self, timeout_seconds: float) -> bool:
        """Let what is going on end; False if the time was not enough."""
        running = [each for each in self.services if each.is_running]
        if not running:
            return True
        tasks = [asyncio.create_task(each.service.drain()) for each in running]
        done, late = await asyncio.wait(tasks, timeout=timeout_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done:
            if (error := task.exception()) is not None:
                _LOG.warning("draining failed: %s", error)
        return not late

    async def stop(self) -> None:
        """Cancel all, last started first."""
        for task in reversed(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()

    async def reload(self) -> list[str]:
        """Hand new settings to every service; returns what went wrong, for people."""
        problems = []
        for each in self.services:
            each.reloaded.set()
            if not each.is_running:
                continue
            try:
                await each.service.reload()
            except HermesError as error:
                _LOG.warning("%s: reload failed: %s", each.service.name, error)
                problems.append(f"{each.service.name}: {error.message}")
        self._on_change()
        return problems

    async def _keep(self, each: Supervised) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            each.reloaded.clear()
            began = time.monotonic()
            is_final = False
            try:
                await each.service.run(lambda: self._started(each))
                self._failed(each, "ended by itself")
            except ConfigError as error:
                is_final = True
                self._failed(each, " ".join(error.lines))
            except HermesError as error:
                self._failed(each, " ".join(error.lines))
            except Exception as error:  # noqa: BLE001 - a fault in one service must not end the others
                _LOG.exception("%s failed unexpectedly", each.service.name)
                self._failed(each, f"{type(error).__name__}: {error}")
            if is_final:
                await each.reloaded.wait()  # only new settings can help
                pause = FIRST_PAUSE_SECONDS
            else:
                if time.monotonic() - began > _STEADY_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                with suppress(TimeoutError):
                    await asyncio.wait_for(each.reloaded.wait(), pause * random.uniform(0.8, 1.2))  # noqa: S311
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            each.restarts += 1

    def _started(self, each: Supervised) -> None:
        each.problem, each.is_running, each.since = "", True, time.time()
        each.settled.set()
        self._on_change()

    def _failed(self, each: Supervised, problem: str) -> None:
        _LOG.error("%s: %s", each.service.name, problem)
        each.problem, each.is_running, each.since = problem, False, time.time()
        each.settled.set()
        self._on_change()
