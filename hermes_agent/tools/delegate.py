"""Not there yet."""

from hermes_agent.core.tool import Tool
from hermes_agent.tools.setup import ToolSetup


def build(setup: ToolSetup) -> Tool | None:
    """Nothing yet."""
    del setup
    return None
