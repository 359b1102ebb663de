"""`display`: what people see."""

from typing import Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section


class PlatformDisplaySettings(Section):
    """`display.platforms.<name>`: other values for one platform; null takes the general one."""

    tool_progress: Literal["off", "new", "all", "verbose"] | None = None
    """As `display.tool_progress`."""
    show_reasoning: bool | None = None
    """As `display.show_reasoning`."""
    tool_preview_length: int | None = Field(default=None, ge=0)
    """As `display.tool_preview_length`."""
    streaming: bool | None = None
    """As `streaming.enabled`."""


class DisplaySettings(Section):
    """`display`."""

    busy_input_mode: Literal["interrupt", "queue", "steer"] = "interrupt"
    """What a message does that arrives during a run: end it, wait for its end, or guide it."""
    tool_progress: Literal["off", "new", "all", "verbose"] = "all"
    """Tool calls shown: none, when the tool changes, all, all with their arguments."""
    tool_preview_length: int = Field(default=0, ge=0)
    """Characters of a tool call's preview; 0 takes the width of the terminal."""
    show_reasoning: bool = False
    """Show the model's reasoning."""
    show_cost: bool = False
    """Show what a run cost, where it is known."""
    streaming: bool = True
    """Show answers in the terminal while they are written."""
    compact: bool = False
    """Leave out the banner and blank lines."""
    personality: str = ""
    """Personality of new sessions; empty means none."""
    skin: str = "default"
    """Colours of the terminal."""
    language: str = "en"
    """Language of the program's own words."""
    resume_display: Literal["full", "minimal", "off"] = "full"
    """How much of a resumed conversation is shown again."""
    bell_on_complete: bool = False
    """Ring the terminal's bell when a run ends."""
    background_process_notifications: Literal["all", "result", "error", "off"] = "all"
    """Which messages of background processes reach a chat."""
    interim_assistant_messages: bool = True
    """Send what the model says between two tool calls."""
    platforms: dict[str, PlatformDisplaySettings] = Field(default_factory=dict)
    """Per platform."""
