"""`streaming`: replies that grow while they are written, in chats of the gateway."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class StreamingSettings(Section):
    """`streaming`."""

    enabled: bool = False
    """Edit the message while the answer arrives."""
    edit_interval: float = Field(default=0.8, gt=0)
    """Seconds between two edits."""
    buffer_threshold: int = Field(default=24, ge=1)
    """New characters before an edit."""
    cursor: str = " ▉"
    """Shown at the end while more is to come."""
