"""Scheduled jobs: values, and the ports of those who manage and those who record them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

OccurrenceState: TypeAlias = Literal["running", "ok", "error", "silent", "skipped", "missed", "lost"]
"""What became of one occurrence of a job.

`silent` ran and had nothing to say; `skipped` was due but not run on purpose (paused, still running, limit
reached); `missed` was due while no scheduler ran; `lost` was running when the scheduler died.
"""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time at which a job was due, and what became of it. Times are Unix seconds."""

    job_id: str
    scheduled_at: float
    state: OccurrenceState
    reason: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    session_id: str = ""
    output_path: str = ""


class OccurrenceLedger(Protocol):
    """Remembers every occurrence; unique per job and time, across processes."""

    async def claim(self, job_id: str, scheduled_at: float, *, owner: str, lease_seconds: float) -> bool:
        """Begin an occurrence; False if it was begun, skipped or missed before, here or elsewhere."""
        ...

    async def extend(self, job_id: str, scheduled_at: float, *, lease_seconds: float) -> None:
        """The run is alive: move the end of its lease."""
        ...

    async def finish(
        self,
        job_id: str,
        scheduled_at: float,
        state: OccurrenceState,
        *,
        reason: str = "",
        session_id: str = "",
        output_path: str = "",
    ) -> None:
        """Record how a claimed occurrence ended."""
        ...

    async def record(self, job_id: str, scheduled_at: float, state: OccurrenceState, *, reason: str) -> bool:
        """Record one that is not run; False if it is known already."""
        ...

    async def expire(self) -> Sequence[Occurrence]:
        """Mark running ones whose lease ended as `lost`; returns them."""
        ...

    async def history(self, job_id: str | None = None, *, limit: int = 20) -> Sequence[Occurrence]:
        """Newest first."""
        ...


class JobDesk(Protocol):
    """Manages jobs (`cronjob` tool, chat commands). Jobs are given as their JSON form (jobs.json)."""

    def all(self) -> Sequence[Mapping[str, Any]]:
        """All jobs."""
        ...

    def create(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add a job. Raises `UsageError` for fields that make no sense."""
        ...

    def edit(self, reference: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change a job, found by id, unique id prefix or exact name."""
        ...

    def pause(self, reference: str, reason: str = "") -> Mapping[str, Any]:
        """Let no occurrence run until resumed."""
        ...

    def resume(self, reference: str) -> Mapping[str, Any]:
        """Go on, from the next occurrence after now."""
        ...

    def run_soon(self, reference: str) -> Mapping[str, Any]:
        """Let it run at the next tick, beside its schedule."""
        ...

    def remove(self, reference: str) -> Mapping[str, Any]:
        """Delete a job; its outputs stay."""
        ...
