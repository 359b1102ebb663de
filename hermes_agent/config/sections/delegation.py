"""`delegation`: subagents."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class DelegationSettings(Section):
    """`delegation`."""

    max_iterations: int = Field(default=50, ge=1)
    """Model requests of one subagent."""
    max_concurrent_children: int = Field(default=3, ge=1)
    """Subagents that run at the same time."""
    max_spawn_depth: int = Field(default=1, ge=1)
    """How deep subagents may start further ones."""
    model: str = ""
    """Model of subagents; empty means the session's."""
    provider: str = ""
    """Provider of subagents; empty means the session's."""
