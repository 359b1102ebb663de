"""Which tools there are, in which sets, and how they are built.

Everything is an explicit table; a tool's module is imported only when the tool is built.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermes_agent.config.paths import Home
from hermes_agent.core.errors import SettingError
from hermes_agent.core.loading import load
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.services import ToolServices
from hermes_agent.core.tool import Tool
from hermes_agent.tools.setup import ToolFactory, ToolSetup
from hermes_agent.tools.wrappers import GuardedTool

if TYPE_CHECKING:
    from hermes_agent.config.settings import Settings

FACTORIES: dict[str, str] = {
    "terminal": "hermes_agent.tools.terminal:build",
    "process": "hermes_agent.tools.process:build",
    "read_file": "hermes_agent.tools.read_file:build",
    "write_file": "hermes_agent.tools.write_file:build",
    "patch": "hermes_agent.tools.patch:build",
    "search_files": "hermes_agent.tools.search_files:build",
    "todo": "hermes_agent.tools.todo:build",
    "clarify": "hermes_agent.tools.clarify:build",
    "memory": "hermes_agent.tools.memory:build",
    "user_model": "hermes_agent.tools.user_model:build",
    "session_search": "hermes_agent.tools.session_search:build",
    "skills_list": "hermes_agent.tools.skills:build_list",
    "skill_view": "hermes_agent.tools.skills:build_view",
    "skill_manage": "hermes_agent.tools.skills:build_manage",
    "cronjob": "hermes_agent.tools.cronjob:build",
    "web_search": "hermes_agent.tools.web.tools:build_search",
    "web_extract": "hermes_agent.tools.web.tools:build_extract",
    "delegate_task": "hermes_agent.tools.delegate:build",
    "execute_code": "hermes_agent.tools.execute_code:build",
}
"""Tool name to its factory (`ToolSetup -> Tool`), in the order in which models see them."""

_CORE = tuple(FACTORIES)
_UNATTENDED = tuple(name for name in _CORE if name != "clarify")
_IN_JOBS = tuple(name for name in _UNATTENDED if name != "cronjob")

TOOLSETS: dict[str, tuple[str, ...]] = {
    # leaf sets
    "terminal": ("terminal", "process"),
    "file": ("read_file", "write_file", "patch", "search_files"),
    "todo": ("todo",),
    "clarify": ("clarify",),
    "memory": ("memory", "user_model"),
    "session_search": ("session_search",),
    "skills": ("skills_list", "skill_view", "skill_manage"),
    "cronjob": ("cronjob",),
    "web": ("web_search", "web_extract"),
    "search": ("web_search",),
    "delegation": ("delegate_task",),
    "code_execution": ("execute_code",),
    # composed sets
    "debugging": ("terminal", "process", "read_file", "write_file", "patch", "search_files"),
    "safe": ("read_file", "search_files", "todo", "clarify"),
    # one per surface
    "hermes-cli": _CORE,
    "hermes-telegram": _CORE,
    "hermes-discord": _CORE,
    "hermes-whatsapp": _CORE,
    "hermes-slack": _CORE,
    "hermes-signal": _CORE,
    "hermes-sms": _CORE,
    "hermes-email": _CORE,
    "hermes-homeassistant": _CORE,
    "hermes-mattermost": _CORE,
    "hermes-matrix": _CORE,
    "hermes-dingtalk": _CORE,
    "hermes-api-server": _UNATTENDED,
    "hermes-acp": _IN_JOBS,
    "hermes-cron": _IN_JOBS,
    "hermes-webhook": ("clarify", "web_search", "web_extract"),
}
"""Toolset name to the tools in it."""

WITHOUT_TOOLS: tuple[str, ...] = (
    *("x_search", "vision", "video", "image_gen", "video_gen", "computer_use", "moa"),
    *("browser", "messaging", "tts", "context_engine"),
    *("homeassistant", "kanban", "discord", "discord_admin", "yuanbao"),
    *("feishu_doc", "feishu_drive", "spotify"),
)
"""Names that existing configurations may list and for which this version has no tools."""

MCP_NAMES, MCP_PREFIX = frozenset({"mcp", "no_mcp"}), "mcp-"
"""Names that choose among MCP servers: all of them, none, and one by its name."""

EVERYTHING = frozenset({"all", "*"})


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list of toolset names comes to.

    Attributes:
        tools: Tool names, in the order in which models see them.
        unavailable: Names of toolsets that have no tools in this version.
    """

    tools: tuple[str, ...]
    unavailable: tuple[str, ...] = ()


def select_tools(names: Sequence[str], custom: Mapping[str, Sequence[str]] | None = None) -> Selection:
    """Resolve names of toolsets, of single tools, `all` and `*`.

    Args:
        names: What the person listed; blanks around names are ignored.
        custom: `custom_toolsets` of the configuration: name to names of tools or other toolsets.

    Raises:
        SettingError: A name is unknown; the remedy has the nearest known ones.
    """
    own = custom or {}
    wanted = [name.strip() for name in names if name.strip()]
    found = {member for name in wanted for member in _expand(name, own, frozenset())}
    return Selection(
        tuple(name for name in FACTORIES if name in found),
        tuple(sorted(name for name in found if name not in FACTORIES)),
    )


def _expand(name: str, custom: Mapping[str, Sequence[str]], within: frozenset[str]) -> Iterator[str]:
    """Tools of one name, and names without tools. Inside itself an own toolset's name means the built-in."""
    if name in custom and name not in within:
        members = custom[name]
        for member in [members] if isinstance(members, str) else members:
            yield from _expand(str(member).strip(), custom, within | {name})
    elif name in EVERYTHING:
        yield from FACTORIES
    elif name in TOOLSETS:
        yield from TOOLSETS[name]
    elif name in MCP_NAMES or name.startswith(MCP_PREFIX):
        return  # tools of other programs: `app` adds them
    elif name in FACTORIES or name in WITHOUT_TOOLS:
        yield name
    elif name not in within:
        raise _unknown(name, custom)


def _unknown(name: str, custom: Mapping[str, Sequence[str]]) -> SettingError:
    known = sorted({*TOOLSETS, *FACTORIES, *custom, *EVERYTHING})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    leaves = ", ".join(known_name for known_name in TOOLSETS if not known_name.startswith("hermes-"))
    return SettingError(
        f"Unknown toolset {name!r}",
        key="toolsets",
        remedy=f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known toolsets: {leaves}, all",
    )


def build_tools(
    names: Sequence[str],
    settings: Settings,
    home: Home,
    redactor: Redactor,
    services: ToolServices | None = None,
) -> tuple[Tool, ...]:
    """Build the tools of the named toolsets in their stable order, each with its wrappers.

    Raises:
        SettingError: A name is unknown.
    """
    custom = getattr(settings, "custom_toolsets", None) or {}
    setup = ToolSetup(
        home=home,
        terminal=settings.terminal,
        output=settings.tool_output,
        clarify_timeout_seconds=settings.agent.clarify_timeout,
        services=services or ToolServices(),
        settings=settings,
    )
    built = (build_tool(name, setup, redactor) for name in select_tools(names, custom).tools)
    return tuple(tool for tool in built if tool is not None)


def build_tool(name: str, setup: ToolSetup, redactor: Redactor) -> Tool | None:
    """Build one tool by its exact name; None if a service it needs is not there.

    Raises:
        KeyError: The name is not in `FACTORIES`.
    """
    factory: ToolFactory = load(FACTORIES[name])
    tool = factory(setup)
    return None if tool is None else GuardedTool(tool, redactor, setup)
