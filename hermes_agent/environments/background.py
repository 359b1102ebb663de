"""Background processes: a job, its rolling buffer and its id behind `core.environment.BackgroundProcess`."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Protocol

from hermes_agent.core.errors import ToolError
from hermes_agent.environments.output import RollingBuffer


class Job(Protocol):
    """A started command, wherever it runs."""

    @property
    def pid(self) -> int | None:
        """Process id in the environment, if known."""
        ...

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        ...

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the end; False if the time-out came first."""
        ...

    async def write(self, data: bytes) -> None:
        """Write to standard input."""
        ...

    async def close_stdin(self) -> None:
        """Close standard input."""
        ...

    async def terminate(self) -> None:
        """SIGTERM to all of it, SIGKILL after one second."""
        ...


class BackgroundJob:
    """A job that goes on while the agent does.

    Args:
        job: What runs.
        command: Its text.
        buffer: Fed by whoever started the job.
        timeout_seconds: Ends it after that time; None lets it run.
    """

    def __init__(
        self, job: Job, *, command: str, buffer: RollingBuffer, timeout_seconds: float | None = None
    ) -> None:
        self.id = f"proc_{secrets.token_hex(6)}"
        self.command = command
        self.started_at = time.time()
        self._job = job
        self._buffer = buffer
        self._limit = asyncio.create_task(self._end_after(timeout_seconds)) if timeout_seconds else None

    @property
    def pid(self) -> int | None:
        """Process id in the environment, if known."""
        return self._job.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + n for signal n."""
        return self._job.exit_code

    def output(self) -> str:
        """The rolling buffer, decoded."""
        return self._buffer.text()

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the end; False if the time-out came first."""
        return await self._job.wait(timeout_seconds)

    async def write(self, data: bytes) -> None:
        """Write to standard input.

        Raises:
            ToolError: The process has ended or has no standard input.
        """
        self._require_running()
        await self._job.write(data)

    async def close_stdin(self) -> None:
        """Close standard input."""
        self._require_running()
        await self._job.close_stdin()

    async def kill(self) -> None:
        """SIGTERM to the group, SIGKILL after one second."""
        if self._limit is not None and self._limit is not asyncio.current_task():
            self._limit.cancel()
        await self._job.terminate()

    def _require_running(self) -> None:
        if self.exit_code is not None:
            raise ToolError(f"{self.id} has ended with exit code {self.exit_code}")

    async def _end_after(self, seconds: float) -> None:
        if not await self._job.wait(seconds):
            await self._job.terminate()
