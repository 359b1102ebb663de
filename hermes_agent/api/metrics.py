"""Counters of the API server, in Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

from hermes_agent.api.active import ActiveRun

_BOUNDS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)
CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What happened since the start."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._runs: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._buckets = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0

    def answered(self, route: str, status: int) -> None:
        """A request was answered. `route` is a pattern, never a path."""
        self._requests[(route, status)] += 1

    def ended(self, active: ActiveRun) -> None:
        """A run has ended."""
        finished = active.answer.finished
        if finished is None:
            self._runs["interrupted"] += 1
            return
        self._runs[finished.outcome] += 1
        self._tokens["input"] += finished.usage.input_tokens
        self._tokens["output"] += finished.usage.output_tokens
        self._tokens["cache_read"] += finished.usage.cache_read_tokens
        self._seconds += finished.duration_seconds
        self._buckets[bisect_left(_BOUNDS, finished.duration_seconds)] += 1

    @property
    def runs(self) -> dict[str, int]:
        """Runs by outcome."""
        return dict(self._runs)

    def text(self, *, active_runs: int, open_sessions: int, uptime_seconds: float) -> bytes:
        """All figures."""
        lines = [
            "# HELP hermes_api_requests_total Requests answered.",
            "# TYPE hermes_api_requests_total counter",
        ]
        for (route, status), count in sorted(self._requests.items()):
            lines.append(f'hermes_api_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += ["# HELP hermes_runs_total Runs by outcome.", "# TYPE hermes_runs_total counter"]
        lines += [
            f'hermes_runs_total{{outcome="{outcome}"}} {count}'
            for outcome, count in sorted(self._runs.items())
        ]
        lines += [
            "# HELP hermes_tokens_total Tokens the provider counted.",
            "# TYPE hermes_tokens_total counter",
        ]
        lines += [
            f'hermes_tokens_total{{kind="{kind}"}} {count}' for kind, count in sorted(self._tokens.items())
        ]
        lines += ["# HELP hermes_run_seconds Duration of runs.", "# TYPE hermes_run_seconds histogram"]
        total = 0
        for bound, count in zip((*_BOUNDS, "+Inf"), self._buckets, strict=True):
            total += count
            lines.append(f'hermes_run_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"hermes_run_seconds_sum {self._seconds:.3f}", f"hermes_run_seconds_count {total}"]
        for name, what, value in (
            ("hermes_active_runs", "Runs going on.", active_runs),
            ("hermes_api_open_sessions", "Stored sessions kept open.", open_sessions),
            ("hermes_api_uptime_seconds", "Seconds since the start.", round(uptime_seconds, 1)),
        ):
            lines += [f"# HELP {name} {what}", f"# TYPE {name} gauge", f"{name} {value}"]
        return ("\n".join(lines) + "\n").encode()
