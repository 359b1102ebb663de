"""`compression`: shortening a conversation that fills the model's window."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class CompressionSettings(Section):
    """`compression`."""

    enabled: bool = True
    """Shorten the history when it grows too long."""
    threshold: float = Field(default=0.5, gt=0, le=1)
    """Share of the context window at which it starts."""
    target_ratio: float = Field(default=0.2, gt=0, lt=1)
    """Length of the summary as a share of what it replaces."""
    protect_first_n: int = Field(default=3, ge=0)
    """Messages after the system prompt that stay as they are."""
    protect_last_n: int = Field(default=20, ge=0)
    """Newest messages that stay as they are."""
    hygiene_hard_message_limit: int = Field(default=400, ge=1)
    """Messages in a chat of the gateway after which it is shortened whatever its length."""
    abort_on_summary_failure: bool = True
    """Leave the history alone when the summary fails; false leaves the middle out, and says so."""
    summary_model: str = ""
    """Model that writes the summary; empty means `auxiliary.compression`."""
