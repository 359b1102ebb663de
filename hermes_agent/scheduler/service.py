"""The scheduler: looks what is due, starts it once, and records everything that was or was not run."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hermes_agent.config.sections.cron import CronSettings
from hermes_agent.core.errors import HermesError
from hermes_agent.core.jobs import OccurrenceLedger
from hermes_agent.core.surface import Health
from hermes_agent.scheduler.jobs import JobBook, advance, schedule_of, timestamp
from hermes_agent.scheduler.runner import JobResult, JobRunner

_LOG = logging.getLogger(__name__)

LEASE_SECONDS = 120.0
"""A run that shows no sign of life for so long is counted as lost, by whatever process looks next."""


class Scheduler:
    """Runs due jobs (`core.surface.Service`).

    Jobs with a working directory of their own run one after the other; others up to `cron.max_parallel`
    at a time. One job never overlaps itself unless its `concurrency` is above 1.
    """

    name = "cron"

    def __init__(
        self,
        book: JobBook,
        ledger: OccurrenceLedger,
        runner: JobRunner,
        settings: CronSettings,
        *,
        clock: Callable[[], float] = time.time,
        settings_now: Callable[[], CronSettings] | None = None,
    ) -> None:
        self._book = book
        self._ledger = ledger
        self._runner = runner
        self._settings = settings
        self._clock = clock
        self._settings_now = settings_now
        self._owner = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._slots = asyncio.Semaphore(settings.max_parallel)
        self._in_directories = asyncio.Lock()
        self._running: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._is_draining = False
        self._last_tick = 0.0
        self._problem = ""
        self._next_due: float | None = None

    async def run(self, started: Callable[[], None]) -> None:
        """Tick until cancelled."""
        started()
        try:
            while True:
                try:
                    await self.tick()
                    self._problem = ""
                except HermesError as error:
                    self._problem = error.message
                    _LOG.warning("cron: %s", error.message)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look again now (a job was added or asked to run)."""
        self._wake.set()

    async def drain(self) -> None:
        """Start nothing more and wait for what runs."""
        self._is_draining = True
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def reload(self) -> None:
        """Take new settings; jobs are read anew at every tick anyway."""
        if self._settings_now is not None:
            self._settings = self._runner.settings = self._settings_now()
        self.wake()

    def health(self) -> Health:
        """How it is."""
        facts = {"last_tick": self._last_tick, "running": sorted(self._running)}
        if self._problem:
            return Health("degraded", self._problem, len(self._tasks), facts=facts)
        return Health("ok", "", len(self._tasks), facts=facts)

    async def tick(self) -> int:
        """Start what is due; returns how many were started."""
        now = self._clock()
        for lost in await self._ledger.expire():
            _LOG.warning("cron: the run of %s at %s was lost", lost.job_id, lost.scheduled_at)
        started = 0
        jobs = await asyncio.to_thread(self._book.all)
        for job in jobs:
            if self._is_draining:
                break
            try:
                started += await self._consider(job, now)
            except HermesError as error:
                await self._mark_broken(job, error)
        self._last_tick = now
        dues = [timestamp(job.get("next_run_at")) for job in await asyncio.to_thread(self._book.all)]
        self._next_due = min((due for due in dues if due is not None and due > now), default=None)
        return started

    async def wait_idle(self) -> None:
        """Wait until nothing runs (`hermes cron tick`)."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _consider(self, job: dict[str, Any], now: float) -> int:
        manual = timestamp(job.get("run_now_at"))
        if manual is not None:
            await self._save(job, lambda saved: saved.pop("run_now_at", None))
            return await self._start(job, manual, now, is_manual=True)
        due = timestamp(job.get("next_run_at"))
        if due is None and job.get("enabled", True) and job.get("state") == "scheduled":
            await self._save(job, lambda saved: advance(saved, now))
            return 0
        if due is None or due > now:
            return 0
        if not job.get("enabled", True) or job.get("state") == "paused":
            await self._pass(job, due, now, "skipped", "paused")
            return 0
        return await self._consider_due(job, due, now)

    async def _consider_due(self, job: dict[str, Any], due: float, now: float) -> int:
        schedule = schedule_of(job)
        policy = str(job.get("misfire") or "grace")
        late = now - due
        if schedule.kind != "once" or policy == "skip":
            grace = schedule.grace_seconds(due) if policy == "grace" else 0.0
            if policy != "run" and late > max(grace, 2 * self._settings.tick_seconds):
                await self._pass(job, due, now, "missed", f"{late:.0f} s late, no scheduler ran")
                return 0
        return await self._start(job, due, now)

    async def _pass(self, job: dict[str, Any], due: float, now: float, state: Any, reason: str) -> None:
        """Record every occurrence up to now that is not run, then move on to the next one to come."""
        schedule = schedule_of(job)
        anchor = timestamp(job.get("created_at")) or due
        moment: float | None = due
        for _ in range(100):
            if moment is None or moment > now:
                break
            await self._ledger.record(job["id"], moment, state, reason=reason)
            moment = schedule.next_after(moment, anchor=anchor)
        await self._save(job, lambda saved: advance(saved, now))

    async def _start(self, job: dict[str, Any], due: float, now: float, *, is_manual: bool = False) -> int:
        job_id = str(job["id"])
        limit = max(int(job.get("concurrency") or 1), 1)
        if self._running.get(job_id, 0) >= limit:
            await self._ledger.record(job_id, due, "skipped", reason="the run before it is not finished")
            if not is_manual:
                await self._save(job, lambda saved: advance(saved, now))
            return 0
        if not await self._ledger.claim(job_id, due, owner=self._owner, lease_seconds=LEASE_SECONDS):
            if not is_manual:
                await self._save(job, lambda saved: advance(saved, max(due, now)))
            return 0
        if not is_manual:
            # The next occurrence is set before this one runs, so that a crash cannot make it run twice.
            await self._save(job, lambda saved: advance(saved, max(due, now)))
        self._running[job_id] = self._running.get(job_id, 0) + 1
        task = asyncio.create_task(self._run_one({**job, "due_at": due}, due), name=f"cron-{job_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return 1

    async def _run_one(self, job: dict[str, Any], due: float) -> None:
        job_id = str(job["id"])
        keeper = asyncio.create_task(self._keep_lease(job_id, due))
        try:
            jitter = float(job.get("jitter_seconds") or 0)
            if jitter > 0:
                await asyncio.sleep(random.uniform(0, jitter))  # noqa: S311 - spreads load, guards nothing
            async with self._slots:
                if job.get("workdir"):
                    async with self._in_directories:
                        result = await self._runner.run(job)
                else:
                    result = await self._runner.run(job)
            await self._ledger.finish(
                job_id,
                due,
                result.state,
                reason=result.error or result.delivery_error,
                session_id=result.session_id,
                output_path=result.output_path,
            )
            await self._save(job, lambda saved: _finish(saved, result, self._clock()))
        except asyncio.CancelledError:
            await asyncio.shield(
                self._ledger.finish(job_id, due, "lost", reason="the scheduler was stopped while it ran")
            )
            raise
        except Exception as error:  # noqa: BLE001 - one job's bug must not end the scheduler
            _LOG.exception("cron: %s failed unexpectedly", job_id)
            await self._ledger.finish(job_id, due, "error", reason=f"{type(error).__name__}: {error}")
        finally:
            keeper.cancel()
            self._running[job_id] -= 1
            if self._running[job_id] <= 0:
                del self._running[job_id]

    async def _keep_lease(self, job_id: str, due: float) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 4)
            await self._ledger.extend(job_id, due, lease_seconds=LEASE_SECONDS)

    async def _mark_broken(self, job: dict[str, Any], error: HermesError) -> None:
        def change(saved: dict[str, Any]) -> None:
            saved.update(state="error", enabled=False, last_status="error", last_error=error.message)

        _LOG.warning("cron: job %s cannot be scheduled: %s", job.get("id"), error.message)
        await self._save(job, change)

    async def _save(self, job: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> None:
        def apply(saved: dict[str, Any]) -> None:
            change(saved)

        await asyncio.to_thread(self._book.update, str(job["id"]), apply)

    def _pause(self) -> float:
        """Until the next full tick, or earlier if something is due before."""
        tick = self._settings.tick_seconds
        if self._next_due is None:
            return tick
        return min(max(self._next_due - self._clock(), 0.05), tick)


def _finish(job: dict[str, Any], result: JobResult, now: float) -> None:
    from_now = job.get("repeat") or {"times": None, "completed": 0}
    from_now["completed"] = int(from_now.get("completed") or 0) + 1
    job["repeat"] = from_now
    job["last_run_at"] = _iso(now)
    job["last_status"] = "error" if result.state == "error" else "ok"
    job["last_error"] = result.error or None
    job["last_delivery_error"] = result.delivery_error or None
    times = from_now.get("times")
    if times is not None and from_now["completed"] >= times:
        job.update(enabled=False, state="completed", next_run_at=None)


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(moment))
