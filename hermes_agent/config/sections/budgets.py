"""`budgets`: how much may be used before a run pauses."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class PriceSettings(Section):
    """US dollars for a million tokens."""

    input: float = Field(default=0, ge=0)
    """Tokens read."""
    output: float = Field(default=0, ge=0)
    """Tokens written."""
    cache_read: float | None = Field(default=None, ge=0)
    """Tokens read from the provider's cache; null means a tenth of `input`."""
    cache_write: float | None = Field(default=None, ge=0)
    """Tokens written to the provider's cache; null means as `input`."""


class BudgetSettings(Section):
    """`budgets`: limits at which a run pauses; 0 means none."""

    session_tokens: int = Field(default=0, ge=0)
    """Tokens of one conversation with its subagents, read and written."""
    session_usd: float = Field(default=0, ge=0)
    """US dollars of one conversation."""
    day_tokens: int = Field(default=0, ge=0)
    """Tokens of all conversations on one day."""
    day_usd: float = Field(default=0, ge=0)
    """US dollars of all conversations on one day."""
    job_tokens: int = Field(default=0, ge=0)
    """Tokens of one run of a scheduled job."""
    job_usd: float = Field(default=0, ge=0)
    """US dollars of one run of a scheduled job."""
    prices: dict[str, PriceSettings] = Field(default_factory=dict)
    """Prices by the beginning of a model's name; they win over the built-in ones."""
