"""Which tools are on, surface by surface, and writing it down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hermes_agent.config.loader import LoadedConfig
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load
from hermes_agent.tools.surfaces import PREFIX, toolset_names
from hermes_agent.tools.toolsets import FACTORIES, TOOLSETS, select_tools

PLATFORMS: tuple[str, ...] = tuple(name.removeprefix(PREFIX) for name in TOOLSETS if name.startswith(PREFIX))
LEAVES: tuple[str, ...] = tuple(
    name for name in TOOLSETS if not name.startswith(PREFIX) and name not in ("debugging", "safe", "search")
)
"""Toolsets that do not overlap: what people turn on and off (`search` is a part of `web`)."""


UNITS: tuple[tuple[str, tuple[str, ...]], ...] = tuple(
    unit
    for toolset in LEAVES
    for unit in (
        ((toolset, TOOLSETS[toolset]),)
        if toolset in TOOLSETS[toolset]
        else ((tool, (tool,)) for tool in TOOLSETS[toolset])
    )
)
"""What can be turned on by itself: a tool, or a whole toolset that bears the name of one of its tools
(`terminal` in a list always means `terminal` and `process`)."""


@dataclass(frozen=True, slots=True)
class ToolState:
    """One tool on one surface."""

    name: str
    toolset: str
    is_enabled: bool


def toolset_of(tool: str) -> str:
    """The toolset that a tool or unit belongs to."""
    return next(toolset for toolset in LEAVES if tool in TOOLSETS[toolset])


def enabled_tools(settings: Settings, platform: str) -> tuple[str, ...]:
    """Tools that a surface offers. Raises `SettingError` for unknown names in the configuration."""
    return select_tools(toolset_names(settings, platform), settings.custom_toolsets).tools


def states(settings: Settings, platform: str) -> list[ToolState]:
    """Every tool, by toolset, in the order in which models see them."""
    enabled = set(enabled_tools(settings, platform))
    return [ToolState(tool, toolset, tool in enabled) for toolset in LEAVES for tool in TOOLSETS[toolset]]


def changed(settings: Settings, platform: str, names: Iterable[str], *, is_enabled: bool) -> tuple[str, ...]:
    """The surface's tools after turning some on or off.

    Args:
        settings: Present settings.
        platform: The surface.
        names: Toolsets (also own ones) or single tools.
        is_enabled: On or off.

    Raises:
        SettingError: A name is unknown.
        UsageError: A name stands for a toolset without tools in this version.
    """
    enabled = set(enabled_tools(settings, platform))
    for name in names:
        selection = select_tools([name], settings.custom_toolsets)
        if not selection.tools:
            raise UsageError(
                f"{name!r} has no tools in this version", remedy="hermes tools list shows what there is"
            )
        enabled = enabled | set(selection.tools) if is_enabled else enabled - set(selection.tools)
    for unit, members in UNITS:
        if unit in enabled and not enabled.issuperset(members):
            raise UsageError(
                f"{' and '.join(members)} only go together",
                remedy=f"hermes tools {'enable' if is_enabled else 'disable'} {unit}",
            )
    return tuple(tool for tool in FACTORIES if tool in enabled)


def shortest_names(tools: Iterable[str], platform: str) -> list[str]:
    """The fewest names that mean exactly these tools: the surface's default, toolsets, then single tools."""
    wanted = set(tools)
    default = f"{PREFIX}{platform}"
    if wanted == set(TOOLSETS.get(default, ())):
        return [default]
    found: list[str] = []
    for toolset in LEAVES:
        members = set(TOOLSETS[toolset])
        if members <= wanted:
            found.append(toolset)
        else:
            found += [tool for tool in TOOLSETS[toolset] if tool in wanted]
    return found


def write_tools(config: LoadedConfig, platform: str, tools: Iterable[str]) -> None:
    """Store a surface's tools under `platform_toolsets`.

    Raises:
        ManagedError: The installation is managed.
        ConfigError: config.yaml cannot be edited.
        StoreUnwritableError: It cannot be written.
    """
    names = listed_names(config.settings, platform, tools)
    load("hermes_agent.config.editor:set_value")(config.home, f"platform_toolsets.{platform}", names)


def listed_names(settings: Settings, platform: str, tools: Iterable[str]) -> list[str]:
    """What `platform_toolsets` says for these tools; names that this version has no tools for stay."""
    kept = select_tools(toolset_names(settings, platform), settings.custom_toolsets).unavailable
    return [*shortest_names(tools, platform), *kept]


def check_platform(platform: str, settings: Settings) -> str:
    """The platform as it is written. Raises `UsageError` if nobody knows it."""
    known = {*PLATFORMS, *settings.platform_toolsets}
    if platform not in known:
        raise UsageError(
            f"There is no platform {platform!r}", remedy=f"Platforms: {', '.join(sorted(known))}"
        )
    return platform
