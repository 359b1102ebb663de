"""Budgets: a run pauses when a limit in tokens or money is reached, and goes on when a person says so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from hermes_agent.config.sections.budgets import BudgetSettings
from hermes_agent.core.approvals import Question
from hermes_agent.core.errors import UsageError
from hermes_agent.core.model import ModelInfo, Usage
from hermes_agent.core.prices import AS_OF, Price, cost_of, price_of
from hermes_agent.core.usage import Insights, UsageRow, UsageStore

Scope: TypeAlias = Literal["session", "day", "job"]

GO_ON: Final = "Go on"
STOP: Final = "Stop here"
_YES: Final = frozenset(("go on", "go", "yes", "y", "ok", "continue", "1"))


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so much; 0 means no limit."""

    tokens: int = 0
    usd: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.tokens or self.usd)


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit is reached.

    Attributes:
        text: Which and how, for people.
        key: The setting.
        higher: A value of it that would let the run go on.
    """

    scope: Scope
    text: str
    key: str
    higher: str

    @property
    def remedy(self) -> str:
        """What to do where nobody could be asked."""
        return f"Raise the limit to go on: hermes config set {self.key} {self.higher}"

    def question(self) -> Question:
        """What the person is asked while the run pauses."""
        return Question(
            f"budget_{self.scope}_{time.monotonic_ns()}",
            f"{self.text} The run pauses. Go on with as much again?",
            (GO_ON, STOP),
        )


@dataclass
class Budget:
    """What one session, with its subagents, may use.

    Attributes:
        limits: By scope; only those that are set.
        store: Knows what all sessions used today; None counts this session only.
        prices: Of the configuration.
    """

    limits: dict[Scope, Limit] = field(default_factory=dict)
    store: UsageStore | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    used: Usage = field(default_factory=Usage)
    _allowed: dict[Scope, int] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: BudgetSettings, source: str, used: Usage, store: UsageStore | None) -> Budget:
        """The budget of a session.

        Args:
            settings: The `budgets` section.
            source: `cron` sessions have the limits of jobs instead of those of conversations.
            used: What the session used before.
            store: See the class.
        """
        own: tuple[Scope, Limit] = (
            ("job", Limit(settings.job_tokens, settings.job_usd))
            if source == "cron"
            else ("session", Limit(settings.session_tokens, settings.session_usd))
        )
        all_limits = dict((own, ("day", Limit(settings.day_tokens, settings.day_usd))))
        return cls(
            {scope: limit for scope, limit in all_limits.items() if limit},
            store,
            {
                name: Price(price.input, price.output, price.cache_read, price.cache_write)
                for name, price in settings.prices.items()
            },
            used,
        )

    def limit_job(self, tokens: int | None, usd: float | None) -> None:
        """Limits of one scheduled job instead of those for all jobs; None or 0 keeps those."""
        known = self.limits.get("job", Limit())
        limit = Limit(int(tokens or 0) or known.tokens, float(usd or 0) or known.usd)
        if limit:
            self.limits = {**self.limits, "job": limit}

    def priced(self, usage: Usage, info: ModelInfo) -> Usage:
        """The usage with an estimated cost, if the provider named none and the price is known."""
        if usage.cost_usd is not None or info.is_demo:
            return usage
        price = price_of(info.model, self.prices)
        if price is None:
            return usage
        return Usage(
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
            usage.requests,
            cost_of(usage, price),
        )

    def add(self, usage: Usage) -> None:
        """Count what was just used."""
        self.used = self.used + usage

    async def exceeded(self) -> Exceeded | None:
        """The first limit that is reached.

        Raises:
            StoreError: Today's usage cannot be read.
        """
        for scope, limit in self.limits.items():
            used = self.used
            if scope == "day" and self.store is not None:
                used = await self.store.usage_on(time.strftime("%Y-%m-%d"))
            factor = 1 + self._allowed.get(scope, 0)
            tokens, cost = used.input_tokens + used.output_tokens, used.cost_usd or 0.0
            name = {"session": "this conversation", "day": "today", "job": "this job"}[scope]
            if limit.tokens and tokens >= limit.tokens * factor:
                return Exceeded(
                    scope,
                    f"The budget of {limit.tokens * factor:,} tokens for {name} is used up ({tokens:,}).",
                    f"budgets.{scope}_tokens",
                    f"{tokens + limit.tokens}",
                )
            if limit.usd and cost >= limit.usd * factor:
                return Exceeded(
                    scope,
                    f"The budget of ${limit.usd * factor:.2f} for {name} is used up (${cost:.2f}).",
                    f"budgets.{scope}_usd",
                    f"{cost + limit.usd:.2f}",
                )
        return None

    def extend(self, scope: Scope) -> None:
        """Allow as much again."""
        self._allowed[scope] = self._allowed.get(scope, 0) + 1


def says_go_on(answer: str | None) -> bool:
    """Whether a person wants the run to go on."""
    return answer is not None and answer.strip().lower().rstrip(".!") in _YES


def insights_text(found: Insights) -> str:
    """`/insights` and `hermes insights`: figures as text."""
    if not found.total.requests:
        return f"Nothing was used since {found.since}."
    counted = f"{found.sessions:,} conversation{'' if found.sessions == 1 else 's'}"
    lines = [
        f"Since {found.since}: {counted}, {figures(found.total)}",
        *_table("By model", found.models),
        *_table("By source", found.sources),
        *_table("By day", found.days),
    ]
    if found.tools:
        lines += ["", "Tool calls"]
        lines += [f"  {count:>8,}  {name}" for name, count in found.tools]
    lines += ["", f"Costs that providers do not name are estimated (prices of {AS_OF}, budgets.prices)."]
    return "\n".join(lines)


def _table(title: str, rows: tuple[UsageRow, ...]) -> list[str]:
    if not rows:
        return []
    widest = max(len(row.name or "(unknown)") for row in rows)
    return ["", title, *(f"  {row.name or '(unknown)':<{widest}}  {figures(row.usage)}" for row in rows)]


def figures(usage: Usage) -> str:
    """Requests, tokens and cost in one line."""
    cached = f" ({usage.cache_read_tokens:,} cached)" if usage.cache_read_tokens else ""
    cost = f", ${usage.cost_usd:.4f}" if usage.cost_usd is not None else ""
    return (
        f"{usage.requests:,} requests, {usage.input_tokens:,} tokens read{cached}, "
        f"{usage.output_tokens:,} written{cost}"
    )


async def insights(store: UsageStore, argument: str) -> str:
    """`/insights [days]`, `/insights --days N`.

    Raises:
        UsageError: It is not a number of days.
    """
    return insights_text(await store.insights(since_day(argument)))


def since_day(argument: str, default: int = 30) -> str:
    """The first of the last N days. Raises `UsageError`."""
    word = argument.replace("--days", "").strip().removeprefix("=") or str(default)
    if not word.isdecimal() or not 1 <= int(word) <= 36_500:
        raise UsageError(f"{argument!r} is not a number of days")
    return time.strftime("%Y-%m-%d", time.localtime(time.time() - (int(word) - 1) * 86_400))
