"""What tools are built from: their settings sections and the state directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from hermes_agent.config.paths import Home
from hermes_agent.config.sections.tools import TerminalSettings, ToolOutputSettings
from hermes_agent.core.services import ToolServices
from hermes_agent.core.tool import Tool

if TYPE_CHECKING:
    from hermes_agent.config.settings import Settings


@dataclass(frozen=True, slots=True)
class ToolSetup:
    """Handed to every tool factory.

    Attributes:
        home: The state directory: its secrets are guarded, oversize results are kept there.
        terminal: The `terminal` section.
        output: The `tool_output` section.
        clarify_timeout_seconds: How long a question to the person stays open.
        services: Ports of other layers.
        settings: All settings, for sections that a tool reads when it is first used.
    """

    home: Home
    terminal: TerminalSettings = field(default_factory=TerminalSettings)
    output: ToolOutputSettings = field(default_factory=ToolOutputSettings)
    clarify_timeout_seconds: float = 600.0
    services: ToolServices = field(default_factory=ToolServices)
    settings: Settings | None = None


ToolFactory: TypeAlias = Callable[[ToolSetup], Tool | None]
"""Builds a tool, or gives None if a service it needs is not there: then it is not offered."""
