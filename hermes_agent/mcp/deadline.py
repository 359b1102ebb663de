"""The time-out of one call, which waits while the server waits for a person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Deadline:
    """Seconds of silence that a call may last.

    Progress starts the count again. While a person is asked on the server's behalf it stands still.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._timeout = asyncio.timeout(seconds)
        self._waiting = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Count.

        Raises:
            TimeoutError: It was silent for too long.
        """
        async with self._timeout:
            yield

    def touch(self) -> None:
        """Something came: count again."""
        if not self._waiting and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + self.seconds)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count."""
        self._waiting += 1
        if not self._timeout.expired():
            self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._waiting -= 1
            self.touch()
