"""`kanban`: the task board."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class KanbanSettings(Section):
    """`kanban`."""

    dispatch_in_gateway: bool = True
    """Let the gateway hand out tasks."""
    dispatch_interval_seconds: float = Field(default=60, gt=0)
    """Seconds between two rounds of handing out."""
    failure_limit: int = Field(default=2, ge=1)
    """Failures after which a task is blocked."""
