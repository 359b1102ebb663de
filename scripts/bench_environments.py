#!/usr/bin/env python3
"""What a command costs beside a bare `bash -c`, and how much a flood of output holds up the loop.

Prints JSON: medians in milliseconds and their ratios, all measured in one run, taking turns.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time

from hermes_agent.core.environment import Command
from hermes_agent.environments.local import LocalEnvironment

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 200


def bare(environment: dict[str, str]) -> None:
    subprocess.run(
        ["bash", "--norc", "-c", "true"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )


async def overhead() -> dict[str, float]:
    child_env = dict(os.environ)
    environment = LocalEnvironment(cwd="/", child_env=child_env, session_id="bench")
    times: dict[str, list[float]] = {"bare": [], "forgetful": [], "persistent": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        bare(child_env)
        times["bare"].append(time.perf_counter() - start)
        for name in ("forgetful", "persistent"):
            start = time.perf_counter()
            await environment.execute(Command("true", persistent=name == "persistent"))
            times[name].append(time.perf_counter() - start)
    await environment.aclose()
    middle = {name: statistics.median(values) * 1000 for name, values in times.items()}
    return {
        "bare_bash_ms": middle["bare"],
        "without_state_ms": middle["forgetful"],
        "with_state_ms": middle["persistent"],
        "without_state_ratio": middle["forgetful"] / middle["bare"],
        "with_state_ratio": middle["persistent"] / middle["bare"],
    }


async def flood() -> dict[str, float]:
    environment = LocalEnvironment(cwd="/", child_env=dict(os.environ), session_id="bench")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    running = asyncio.create_task(environment.execute(Command("yes", timeout_seconds=2)))
    worst = 0.0
    while not running.done():
        start = time.perf_counter()
        await asyncio.sleep(0.002)
        worst = max(worst, time.perf_counter() - start - 0.002)
    result = await running
    await environment.aclose()
    return {
        "flood_mb_per_second": result.dropped_bytes / 1e6 / result.duration_seconds,
        "flood_worst_loop_lag_ms": worst * 1000,
        "flood_memory_growth_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


async def main() -> None:
    figures = {**await overhead(), **await flood()}
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
