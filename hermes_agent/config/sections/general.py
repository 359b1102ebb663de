"""Keys at the top level that belong to no section."""

from typing import Any

from pydantic import Field

from hermes_agent.config.sections.base import Section


class GeneralSettings(Section):
    """Top-level keys."""

    toolsets: list[str] = Field(default_factory=lambda: ["hermes-cli"])
    """Sets of tools on offer in the terminal."""
    platform_toolsets: dict[str, list[str]] = Field(default_factory=dict)
    """Sets of tools on other surfaces, by platform."""
    custom_toolsets: dict[str, list[str]] = Field(default_factory=dict)
    """Own sets: name to tools or other sets."""
    command_allowlist: list[str] = Field(default_factory=list)
    """Rules of risky commands that are always allowed; grows when a person answers `always`."""
    quick_commands: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Own slash commands: name to `{type: exec, command: …}` or `{type: alias, target: …}`."""
    timezone: str = ""
    """Time zone (`Europe/Berlin`); empty means the machine's."""
    prefill_messages_file: str = ""
    """JSON file with messages put before every conversation."""
    provider_routing: dict[str, Any] = Field(default_factory=dict)
    """Passed to OpenRouter: sort, only, ignore, order, require_parameters, data_collection."""
    hooks: dict[str, Any] = Field(default_factory=dict)
    """Shell commands to run at events: event to a list of `{command, matcher, timeout}`."""
