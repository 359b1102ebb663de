"""Settings of the loopback platform: `platforms.loopback.extra`."""

from __future__ import annotations

from pydantic import Field

from hermes_agent.config.sections.base import Section


class LoopbackSettings(Section):
    """`platforms.loopback.extra`."""

    url: str = ""
    """Address of the chat server, `http://127.0.0.1:PORT`."""
    recognises_resends: bool = True
    """Whether the server shows a message once that was sent twice with one key."""
    can_edit: bool = True
    """Whether messages can be edited."""
    max_text: int = Field(default=4096, ge=32)
    """Characters of one message."""
    messages_per_second: float = Field(default=50.0, gt=0)
    """Pace of one chat."""
    poll_seconds: float = Field(default=20.0, gt=0)
    """How long the server holds a poll without news."""
    max_silence_seconds: float = Field(default=60.0, gt=0)
    """A healthy connection has completed a poll within this time."""
