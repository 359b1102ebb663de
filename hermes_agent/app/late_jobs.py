"""The job desk, loaded when the agent first uses it: a chat that schedules nothing pays nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from hermes_agent.config.paths import Home
from hermes_agent.core.jobs import JobDesk
from hermes_agent.core.loading import load


class LateJobDesk:
    """See `core.jobs.JobDesk`.

    Args:
        home: Where the jobs are kept.
        on_change: Called when something may be due sooner than before.
    """

    def __init__(self, home: Home, on_change: Callable[[], None]) -> None:
        self._home = home
        self._on_change = on_change
        self._loaded: JobDesk | None = None

    @property
    def _desk(self) -> JobDesk:
        if self._loaded is None:
            self._loaded = cast("JobDesk", load("hermes_agent.scheduler.jobs:JobBook")(self._home))
        return self._loaded

    def _changed(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        self._on_change()
        return job

    def all(self) -> Sequence[Mapping[str, Any]]:
        """All jobs."""
        return self._desk.all()

    def create(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add a job."""
        return self._changed(self._desk.create(fields))

    def edit(self, reference: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change a job."""
        return self._changed(self._desk.edit(reference, fields))

    def pause(self, reference: str, reason: str = "") -> Mapping[str, Any]:
        """Let no occurrence run until resumed."""
        return self._desk.pause(reference, reason)

    def resume(self, reference: str) -> Mapping[str, Any]:
        """Go on."""
        return self._changed(self._desk.resume(reference))

    def run_soon(self, reference: str) -> Mapping[str, Any]:
        """Run at the next tick."""
        return self._changed(self._desk.run_soon(reference))

    def remove(self, reference: str) -> Mapping[str, Any]:
        """Delete a job."""
        return self._desk.remove(reference)
