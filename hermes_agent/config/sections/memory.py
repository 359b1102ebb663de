"""`memory`: what is remembered from one conversation to the next."""

from typing import Any, Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section


class MemorySettings(Section):
    """`memory`."""

    memory_enabled: bool = True
    """Keep MEMORY.md: facts the agent found worth keeping."""
    user_profile_enabled: bool = True
    """Keep USER.md: what the agent knows of the person."""
    memory_char_limit: int = Field(default=2200, ge=0)
    """Characters of MEMORY.md."""
    user_char_limit: int = Field(default=1375, ge=0)
    """Characters of USER.md."""
    write_approval: bool = False
    """Put every change into a queue that the person approves."""
    when_full: Literal["refuse", "evict"] = "refuse"
    """When an entry does not fit: tell the agent to tidy up, or drop the oldest entries."""
    nudge_interval: int = Field(default=10, ge=0)
    """User turns between reviews of what should be remembered; 0 turns them off."""
    owners: list[str] = Field(default_factory=list)
    """Chat accounts that share the memory of the command line: `telegram:12345`. Others have their own."""
    provider: str = ""
    """External memory service beside the files: `honcho`, or a plug-in's name; empty uses none."""
    provider_options: dict[str, Any] = Field(default_factory=dict)
    """What the service is told: for Honcho `url`, `workspace`, `peer`, `agent_peer`, `reasoning_level`."""
