"""Figures about what clients did, for `/stats`."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from hermes_agent.models.scripted.seen import SeenRequest
from hermes_agent.models.scripted.wire import to_json

_GAPS = 10_000


class ServerStats:
    """Counts requests; measures how long clients think between two of them."""

    def __init__(self) -> None:
        self._requests = 0
        self._bytes_in = 0
        self._cached_tokens = 0
        self._prompt_tokens = 0
        self._disconnects = 0
        self._by_path: Counter[str] = Counter()
        self._by_model: Counter[str] = Counter()
        self._connections: set[tuple[str, int]] = set()
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._answered_at: float | None = None
        self._last: SeenRequest | None = None

    def arrive(self, path: str, client: tuple[str, int] | None) -> None:
        """A request arrives."""
        if self._answered_at is not None:
            self._gaps.append(time.perf_counter() - self._answered_at)
            self._answered_at = None
        self._requests += 1
        self._by_path[path] += 1
        if client is not None:
            self._connections.add(client)

    def understand(self, seen: SeenRequest) -> None:
        """A request was understood."""
        self._bytes_in += seen.body_bytes
        self._by_model[seen.model] += 1
        self._prompt_tokens += seen.prompt_tokens
        self._cached_tokens += seen.cached_tokens
        self._last = seen

    def answered(self, *, is_disconnected: bool) -> None:
        """An answer ended."""
        self._disconnects += is_disconnected
        self._answered_at = time.perf_counter()

    def to_json(self) -> dict[str, Any]:
        """All figures. Gaps are in milliseconds: the time from an answer's end to the next request."""
        return {
            "requests": self._requests,
            "connections": len(self._connections),
            "disconnects": self._disconnects,
            "bytes_in": self._bytes_in,
            "prompt_tokens": self._prompt_tokens,
            "cached_tokens": self._cached_tokens,
            "by_path": dict(self._by_path),
            "by_model": dict(self._by_model),
            "gap_ms": _quantiles(self._gaps),
            "last": _describe(self._last) if self._last else None,
        }


def _quantiles(gaps: Sequence[float]) -> dict[str, float | int | None]:
    ordered = sorted(gaps)

    def at(part: float) -> float | None:
        return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000, 3) if ordered else None

    return {
        "count": len(ordered),
        "min": at(0),
        "p50": at(0.5),
        "p90": at(0.9),
        "max": at(1),
        "sum": round(sum(ordered) * 1000, 3),
    }


def _describe(seen: SeenRequest) -> dict[str, Any]:
    schemas = [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in seen.request.tools
    ]
    return {
        "model": seen.model,
        "dialect": seen.dialect,
        "stream": seen.stream,
        "bytes": seen.body_bytes,
        "messages": len(seen.messages),
        "system_chars": len(seen.system),
        "tools": len(schemas),
        "tool_names": list(seen.tool_names),
        "tool_schema_chars": len(to_json(schemas)) if schemas else 0,
        "prompt_tokens": seen.prompt_tokens,
        "cached_tokens": seen.cached_tokens,
    }
