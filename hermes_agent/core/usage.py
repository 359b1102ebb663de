"""What was used: figures for people and for limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hermes_agent.core.model import Usage


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage of one model, one source or one day. `sessions` counts those that took part."""

    name: str
    usage: Usage
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class Insights:
    """Figures since a day.

    Attributes:
        since: The first day, `YYYY-MM-DD`.
        models: Most expensive, then most used, first; likewise `sources`.
        days: Oldest first; days without use are left out.
        tools: Name and number of calls, most called first.
    """

    since: str
    total: Usage
    sessions: int
    models: tuple[UsageRow, ...] = ()
    sources: tuple[UsageRow, ...] = ()
    days: tuple[UsageRow, ...] = ()
    tools: tuple[tuple[str, int], ...] = field(default=())


class UsageStore(Protocol):
    """Keeps what was used. All raise `StoreError`."""

    async def usage_on(self, day: str) -> Usage:
        """Of all sessions on one day."""
        ...

    async def insights(self, since: str) -> Insights:
        """Figures since a day, this one included."""
        ...
