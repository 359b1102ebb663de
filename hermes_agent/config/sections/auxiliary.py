"""`auxiliary`: models for small jobs beside the conversation."""

from typing import Any

from pydantic import Field

from hermes_agent.config.sections.base import Section
from hermes_agent.config.sections.model import FallbackSettings


class AuxiliaryTaskSettings(Section):
    """`auxiliary.<task>`."""

    provider: str = "auto"
    """Provider id; `auto` takes the main model."""
    model: str = ""
    """Model name; empty takes the provider's choice."""
    base_url: str = ""
    """Own endpoint."""
    api_key: str = ""
    """Key for `base_url`; better `${NAME}`."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds for one request; null takes the provider's."""
    context_length: int | None = Field(default=None, gt=0)
    """Context window in tokens; null means what is known of the model."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Added to the body of every request."""
    fallback_chain: list[FallbackSettings] = Field(default_factory=list)
    """Asked in turn when the first one fails, before the general chain."""


def _task() -> AuxiliaryTaskSettings:
    return AuxiliaryTaskSettings()


class AuxiliarySettings(Section):
    """`auxiliary`: one entry for each task."""

    vision: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Describes images for models that cannot see."""
    web_extract: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Summarises long web pages."""
    compression: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Summarises long conversations."""
    session_search: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Says what earlier conversations hold about something."""
    skills_hub: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Judges skills from the hub."""
    approval: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Judges commands when `approvals.mode` is `smart`."""
    mcp: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Answers sampling requests of MCP servers."""
    title_generation: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Names sessions."""
    triage_specifier: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Makes tasks precise."""
    kanban_decomposer: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Cuts tasks into smaller ones."""
    curator: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Looks after skills."""
    goal_judge: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Judges whether a goal is reached."""
    monitor: AuxiliaryTaskSettings = Field(default_factory=_task)
    """Watches background work."""
