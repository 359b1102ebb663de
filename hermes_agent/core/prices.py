"""What models cost, as data, for providers that do not say what a request cost.

Estimates from public price lists, US dollars for a million tokens. `budgets.prices` replaces and adds to
them. A model is looked up by the longest name that its own name starts with, its vendor left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hermes_agent.core.model import Usage

AS_OF: Final = "2025-11"
"""When the lists were read."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens. None takes a tenth (read) or the whole (write) of `input`."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None


PRICES: Final[Mapping[str, Price]] = {
    "claude-opus-4-5": Price(5, 25, 0.5, 6.25),
    "claude-opus-4.5": Price(5, 25, 0.5, 6.25),
    "claude-opus-4": Price(15, 75, 1.5, 18.75),
    "claude-sonnet-4": Price(3, 15, 0.3, 3.75),
    "claude-haiku-4": Price(1, 5, 0.1, 1.25),
    "claude-3-7-sonnet": Price(3, 15, 0.3, 3.75),
    "claude-3-5-sonnet": Price(3, 15, 0.3, 3.75),
    "claude-3-5-haiku": Price(0.8, 4, 0.08, 1),
    "gpt-5-mini": Price(0.25, 2, 0.025),
    "gpt-5-nano": Price(0.05, 0.4, 0.005),
    "gpt-5": Price(1.25, 10, 0.125),
    "gpt-4.1-mini": Price(0.4, 1.6, 0.1),
    "gpt-4.1-nano": Price(0.1, 0.4, 0.025),
    "gpt-4.1": Price(2, 8, 0.5),
    "gpt-4o-mini": Price(0.15, 0.6, 0.075),
    "gpt-4o": Price(2.5, 10, 1.25),
    "o3": Price(2, 8, 0.5),
    "o4-mini": Price(1.1, 4.4, 0.275),
    "gemini-2.5-pro": Price(1.25, 10, 0.125),
    "gemini-2.5-flash-lite": Price(0.1, 0.4, 0.01),
    "gemini-2.5-flash": Price(0.3, 2.5, 0.03),
    "deepseek-chat": Price(0.28, 0.42, 0.028),
    "deepseek-reasoner": Price(0.28, 0.42, 0.028),
    "grok-4-fast": Price(0.2, 0.5, 0.05),
    "grok-4": Price(3, 15, 0.75),
    "kimi-k2": Price(0.6, 2.5, 0.15),
    "glm-4.6": Price(0.6, 2.2, 0.11),
    "mistral-large": Price(2, 6),
}
"""Model name to price."""


def price_of(model: str, own: Mapping[str, Price] | None = None) -> Price | None:
    """The price of a model; None if it is not known."""
    name = model.rpartition("/")[2].partition(":")[0].lower()
    for table in (own or {}, PRICES):
        fitting = [known for known in table if name.startswith(known.lower())]
        if fitting:
            return table[max(fitting, key=len)]
    return None


def cost_of(usage: Usage, price: Price) -> float:
    """US dollars. `input_tokens` include those of the cache."""
    read = price.input / 10 if price.cache_read is None else price.cache_read
    write = price.input if price.cache_write is None else price.cache_write
    plain = max(usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens, 0)
    return (
        plain * price.input
        + usage.cache_read_tokens * read
        + usage.cache_write_tokens * write
        + usage.output_tokens * price.output
    ) / 1_000_000
