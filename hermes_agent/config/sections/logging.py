"""`logging`: log files."""

from typing import Literal

from pydantic import Field, field_validator

from hermes_agent.config.sections.base import Section


class LoggingSettings(Section):
    """`logging`."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Least important line that is written."""
    max_size_mb: int = Field(default=5, ge=1)
    """MiB of one file before a new one is begun."""
    backup_count: int = Field(default=3, ge=0)
    """Old files kept."""

    @field_validator("level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value
