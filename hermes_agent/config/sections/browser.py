"""`browser`: driving a web browser."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class BrowserSettings(Section):
    """`browser`."""

    provider: str = "local"
    """`local` Chromium or the id of a cloud service."""
    inactivity_timeout: float = Field(default=120, gt=0)
    """Seconds without use after which the browser is closed."""
    command_timeout: float = Field(default=30, gt=0)
    """Seconds for one action."""
    record_sessions: bool = False
    """Keep a recording of what happened."""
