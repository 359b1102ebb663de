"""`plugins`: Python code of others."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class PluginSettings(Section):
    """`plugins`: none runs until it is named here."""

    enabled: list[str] = Field(default_factory=list)
    """Names of plug-ins to load."""
    disabled: list[str] = Field(default_factory=list)
    """Names never to load; wins over `enabled`."""
    allow_project: bool = False
    """Also look into the project's own `.hermes/plugins`."""
