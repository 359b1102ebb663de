"""`skills`: folders of instructions the agent loads on demand."""

from typing import Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section


class SkillSettings(Section):
    """`skills`."""

    external_dirs: list[str] = Field(default_factory=list)
    """Further directories with skills, read only."""
    disabled: list[str] = Field(default_factory=list)
    """Names of skills that are not offered."""
    write_mode: Literal["propose", "auto"] = "propose"
    """`propose` shows the person every change first; `auto` lets the agent write skills of its own."""
    bundled: bool = True
    """Bring the skills that come with the program, and their updates."""
    creation_nudge_interval: int = Field(default=10, ge=0)
    """Tool rounds between reviews of what could become a skill; 0 turns them off."""
