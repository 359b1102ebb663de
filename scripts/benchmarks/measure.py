"""Measuring whole processes: two commands in turn, so that a busy moment hits both."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One process: seconds of wall and CPU time, peak resident memory in MiB."""

    wall: float
    cpu: float
    peak_mib: float


@dataclass(frozen=True)
class Series:
    """Samples of one command."""

    samples: tuple[Sample, ...]

    @property
    def wall_ms(self) -> float:
        return statistics.median(sample.wall for sample in self.samples) * 1000

    @property
    def cpu_ms(self) -> float:
        return statistics.median(sample.cpu for sample in self.samples) * 1000

    @property
    def peak_mib(self) -> float:
        return statistics.median(sample.peak_mib for sample in self.samples)


def run_once(command: Sequence[str], env: Mapping[str, str]) -> Sample:
    """Run to the end; a failure is an error, because a failed command is quick."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({process.returncode}):\n{errors.decode(errors='replace')}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compare(
    first: Sequence[str], second: Sequence[str], *, env: Mapping[str, str], runs: int = 11
) -> tuple[Series, Series]:
    """Run both in turn, after one unmeasured run of each."""
    run_once(first, env)
    run_once(second, env)
    pairs = [(run_once(first, env), run_once(second, env)) for _ in range(runs)]
    return Series(tuple(pair[0] for pair in pairs)), Series(tuple(pair[1] for pair in pairs))
