"""Whether a burst of messages is coming in: taking it in goes before working on it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

BURST: Final = 10
WINDOW_SECONDS: Final = 0.1
LONGEST_SECONDS: Final = 2.0


class Arrivals:
    """Counts messages as they come."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=BURST)

    def note(self) -> None:
        """One has come."""
        self._times.append(time.monotonic())

    @property
    def is_burst(self) -> bool:
        """More than a few have come within the last moment."""
        times = self._times
        return len(times) == BURST and times[0] > time.monotonic() - WINDOW_SECONDS

    async def calm(self) -> None:
        """Wait until the burst is over, but not for long."""
        for _ in range(round(2 * LONGEST_SECONDS / WINDOW_SECONDS)):
            if not self.is_burst:
                return
            await asyncio.sleep(WINDOW_SECONDS / 2)
