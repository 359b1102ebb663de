"""`context`: what is read into the prompt besides the conversation."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class ContextSettings(Section):
    """`context`."""

    engine: str = "default"
    """Which engine shortens conversations; plug-ins may bring others."""
    file_max_chars: int = Field(default=20_000, ge=0)
    """Characters read from a project's rule file; 0 reads none."""
    hint_max_chars: int = Field(default=8_000, ge=0)
    """Characters read from rule files of sub-directories."""
