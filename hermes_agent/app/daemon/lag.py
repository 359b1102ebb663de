"""How long the event loop makes others wait: a diagnosis asked for on the control socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

_STEP_SECONDS = 0.005
_LONGEST_SECONDS = 60.0


async def measure_lag(request: Mapping[str, Any]) -> dict[str, Any]:
    """Sleep in short steps for `seconds`; tells, in milliseconds, what they took longer.

    `late` is what a clock says. `own` is at most that, and at most the processor time that this thread used
    meanwhile: the part that is not owed to other programs on a busy machine.
    """
    seconds = min(max(float(request.get("seconds") or 1), 10 * _STEP_SECONDS), _LONGEST_SECONDS)
    late: list[float] = []
    own: list[float] = []
    deadline = time.perf_counter() + seconds
    while (began := time.perf_counter()) < deadline:
        used = time.thread_time()
        await asyncio.sleep(_STEP_SECONDS)
        used = time.thread_time() - used
        late.append(max(0.0, time.perf_counter() - began - _STEP_SECONDS))
        own.append(min(late[-1], used))
    return {"samples": len(late), "late": _percentiles(late), "own": _percentiles(own)}


def _percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 3)

    return {"p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0)}
