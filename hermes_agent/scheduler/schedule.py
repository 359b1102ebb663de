"""When a job is due: once, every so often, or by a cron expression.

Texts people write: `30m`, `2h`, `1d` (once, from now), `every 2h`, an ISO time (once), five cron fields or
`@daily` and its kind (local time).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from croniter import CroniterError, croniter

from hermes_agent.core.errors import UsageError

MIN_GRACE_SECONDS = 120.0
MAX_GRACE_SECONDS = 7200.0
"""A recurring occurrence that is late by at most half its period, within these bounds, still runs."""

_DURATION = re.compile(r"(\d+)\s*(m|min|minutes?|h|hours?|d|days?|w|weeks?)", re.IGNORECASE)
_MINUTES = {"m": 1, "h": 60, "d": 1440, "w": 10_080}
_EXAMPLES = "Examples: 30m · every 2h · 0 9 * * 1-5 · @daily · 2027-01-31T09:00"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A parsed schedule.

    Attributes:
        run_at: Unix time, for `once`.
        minutes: Period, for `interval`.
        expr: Cron expression in local time, for `cron`.
        display: How people read it.
    """

    kind: Literal["once", "interval", "cron"]
    display: str
    run_at: float = 0.0
    minutes: int = 0
    expr: str = ""

    def next_after(self, moment: float, *, anchor: float) -> float | None:
        """The first time after `moment`; None if there is none.

        Args:
            moment: Unix time.
            anchor: Where intervals count from (creation of the job), so that restarts do not shift them.
        """
        if self.kind == "once":
            return self.run_at if self.run_at > moment else None
        if self.kind == "interval":
            period = self.minutes * 60.0
            return anchor + period * (max(int((moment - anchor) // period), 0) + 1)
        start = datetime.fromtimestamp(moment).astimezone()
        return float(croniter(self.expr, start).get_next(float))

    def grace_seconds(self, due: float) -> float:
        """How late an occurrence may still run."""
        following = self.next_after(due, anchor=due)
        period = (following - due) if following else 2 * MAX_GRACE_SECONDS
        return min(max(period / 2, MIN_GRACE_SECONDS), MAX_GRACE_SECONDS)

    def to_json(self) -> dict[str, Any]:
        """The form kept in jobs.json."""
        value: dict[str, Any] = {"kind": self.kind, "display": self.display}
        if self.kind == "once":
            value["run_at"] = datetime.fromtimestamp(self.run_at).astimezone().isoformat()
        elif self.kind == "interval":
            value["minutes"] = self.minutes
        else:
            value["expr"] = self.expr
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schedule:
        """Read the form kept in jobs.json. Raises `UsageError`."""
        kind, display = value.get("kind"), str(value.get("display") or "")
        if kind == "once":
            moment = _parse_time(str(value.get("run_at") or ""))
            if moment is not None:
                return cls("once", display or str(value["run_at"]), run_at=moment.timestamp())
        elif kind == "interval":
            minutes = value.get("minutes")
            if isinstance(minutes, int | float) and minutes > 0:
                return cls("interval", display or f"every {minutes:g}m", minutes=int(minutes))
        elif kind == "cron":
            expr = str(value.get("expr") or "")
            return cls("cron", display or expr, expr=_checked(expr))
        raise UsageError(f"This is not a schedule: {dict(value)!r}", remedy=_EXAMPLES)


def parse_schedule(text: str, *, now: float) -> Schedule:
    """Read what a person wrote.

    Raises:
        UsageError: It is no schedule, or lies in the past.
    """
    words = " ".join(text.split())
    every = re.fullmatch(r"every\s+(.+)", words, re.IGNORECASE)
    if every:
        named = {"minute": 1, "hour": 60, "day": 1440, "week": 10_080}.get(every[1].lower())
        minutes = named or _minutes(every[1])
        if minutes is None:
            raise _unknown(text)
        return Schedule("interval", f"every {_span(minutes)}", minutes=minutes)
    minutes = _minutes(words)
    if minutes is not None:
        return Schedule("once", f"once in {_span(minutes)}", run_at=now + minutes * 60)
    moment = _parse_time(words)
    if moment is not None:
        if moment.timestamp() <= now:
            raise UsageError(f"{text} is in the past", remedy="Give a time to come.")
        return Schedule("once", f"once at {moment:%Y-%m-%d %H:%M}", run_at=moment.timestamp())
    return Schedule("cron", words, expr=_checked(words, text))


def _checked(expr: str, text: str | None = None) -> str:
    if not expr or (not expr.startswith("@") and len(expr.split()) != 5):
        raise _unknown(text or expr)
    try:
        # Asking for the next time also finds dates that never come, such as 30 February.
        croniter(expr, datetime.now().astimezone()).get_next(float)
    except (CroniterError, ValueError, KeyError) as error:
        raise UsageError(f"{text or expr!r} is not a schedule", why=str(error), remedy=_EXAMPLES) from error
    return expr


def _unknown(text: str) -> UsageError:
    return UsageError(f"{text!r} is not a schedule", remedy=_EXAMPLES)


def _minutes(text: str) -> int | None:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return None
    minutes = int(match[1]) * _MINUTES[match[2][0].lower()]
    if not 0 < minutes <= 10 * 366 * 1440:
        raise UsageError(f"{text!r} is not a span of time that can be scheduled", remedy=_EXAMPLES)
    return minutes


def _span(minutes: int) -> str:
    for size, unit in ((10_080, "w"), (1440, "d"), (60, "h")):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


def _parse_time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone() if moment.tzinfo is None else moment


def describe_time(moment: float | None) -> str:
    """A time for people: local, to the minute."""
    if moment is None:
        return "never"
    when = datetime.fromtimestamp(moment).astimezone()
    today = datetime.now().astimezone().date()
    if when.date() == today:
        return f"today {when:%H:%M}"
    if when.date() == today + timedelta(days=1):
        return f"tomorrow {when:%H:%M}"
    return f"{when:%Y-%m-%d %H:%M}"
