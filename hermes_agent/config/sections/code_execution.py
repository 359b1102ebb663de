"""`code_execution`: Python scripts that call tools."""

from typing import Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section


class CodeExecutionSettings(Section):
    """`code_execution`."""

    mode: Literal["project", "strict"] = "project"
    """Run in the project's directory and environment, or in an empty one."""
    timeout: float = Field(default=300, gt=0)
    """Seconds a script gets."""
    max_tool_calls: int = Field(default=50, ge=0)
    """Tool calls of one script."""
    max_stdout_bytes: int = Field(default=50_000, ge=0)
    """Bytes of output that are kept."""
    max_stderr_bytes: int = Field(default=10_000, ge=0)
    """Bytes of error output that are kept."""
