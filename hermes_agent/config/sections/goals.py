"""`goals`: long-lived aims."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class GoalSettings(Section):
    """`goals`."""

    max_turns: int = Field(default=20, ge=1)
    """Runs spent on one goal before the person is asked."""
