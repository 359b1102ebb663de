"""`cron`: scheduled jobs."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class CronSettings(Section):
    """`cron`."""

    wrap_response: bool = True
    """Put a header above what a job delivers."""
    tick_seconds: float = Field(default=60, gt=0)
    """Seconds between two looks at what is due."""
    max_parallel: int = Field(default=4, ge=1)
    """Jobs that run at the same time."""
    inactivity_timeout: float = Field(default=600, gt=0)
    """Seconds without progress after which a job is ended."""
    script_timeout: float = Field(default=120, gt=0)
    """Seconds a job's script gets."""
