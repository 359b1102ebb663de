"""Leaves a server alone that failed too often just now."""

from __future__ import annotations

import time
from collections import deque

FAILURES = 3
SECONDS = 60.0
"""After so many failures within this time nothing is tried for as long."""


class Breaker:
    """Counts the failures of one server."""

    def __init__(self) -> None:
        self._failures: deque[float] = deque(maxlen=FAILURES)

    def count(self) -> None:
        """It failed."""
        self._failures.append(time.monotonic())

    def reset(self) -> None:
        """Forget all failures."""
        self._failures.clear()

    @property
    def seconds_left(self) -> float:
        """How long it is to be left alone; 0 or less means that it may be tried."""
        if len(self._failures) < FAILURES or self._failures[-1] - self._failures[0] > SECONDS:
            return 0.0
        return self._failures[-1] + SECONDS - time.monotonic()
