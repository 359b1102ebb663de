"""`curator`: care for skills in the background."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class CuratorSettings(Section):
    """`curator`."""

    enabled: bool = True
    """Look after skills now and then."""
    interval_hours: float = Field(default=168, gt=0)
    """Hours between two rounds."""
    min_idle_hours: float = Field(default=2, ge=0)
    """Hours of quiet before a round starts."""
    stale_after_days: float = Field(default=30, gt=0)
    """Days without use after which a skill counts as stale."""
    archive_after_days: float = Field(default=90, gt=0)
    """Days without use after which a skill is archived (never deleted)."""
