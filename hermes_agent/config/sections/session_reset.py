"""`session_reset`: when a chat of the gateway starts afresh."""

from typing import Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section

ResetMode = Literal["daily", "idle", "both", "none"]


class ResetPolicySettings(Section):
    """A policy for one platform or one kind of chat; null takes the general value."""

    mode: ResetMode | None = None
    """As `session_reset.mode`."""
    at_hour: int | None = Field(default=None, ge=0, le=23)
    """As `session_reset.at_hour`."""
    idle_minutes: int | None = Field(default=None, ge=1)
    """As `session_reset.idle_minutes`."""
    notify: bool | None = None
    """As `session_reset.notify`."""


class SessionResetSettings(Section):
    """`session_reset`."""

    mode: ResetMode = "both"
    """`daily` at an hour, `idle` after a silence, `both` whichever comes first, or `none`."""
    at_hour: int = Field(default=4, ge=0, le=23)
    """Hour of the day, local time."""
    idle_minutes: int = Field(default=1440, ge=1)
    """Minutes of silence."""
    notify: bool = True
    """Tell the chat that it starts afresh."""
    triggers: list[str] = Field(default_factory=lambda: ["/new", "/reset"])
    """Messages that start afresh at once."""
    by_platform: dict[str, ResetPolicySettings] = Field(default_factory=dict)
    """Per platform."""
    by_type: dict[str, ResetPolicySettings] = Field(default_factory=dict)
    """Per kind of chat (`dm`, `group`, `thread`)."""
