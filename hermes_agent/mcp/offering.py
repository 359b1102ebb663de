"""From what a server lists to the tools that a session gets: filtered, checked, named, in a stable order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hermes_agent.config.sections.mcp import McpServerSettings, McpToolFilterSettings
from hermes_agent.core.model import ToolDefinition
from hermes_agent.core.tool import ToolContext, ToolResult
from hermes_agent.mcp.catalogue import Catalogue, RemoteTool
from hermes_agent.mcp.names import tool_name
from hermes_agent.mcp.ports import Client
from hermes_agent.mcp.schemas import UnusableSchemaError, adapt
from hermes_agent.mcp.tools import PROMPT_UTILITIES, RESOURCE_UTILITIES, McpTool, Servers

MAX_DESCRIPTION_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Offer:
    """What sessions get of a server.

    Attributes:
        rejected: Tools that cannot be offered: the server's own name to the reason.
    """

    tools: tuple[McpTool, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)


def is_wanted(name: str, chosen: McpToolFilterSettings) -> bool:
    """Whether the settings let a tool through, by the server's own name; `include` wins."""
    if chosen.include:
        return name in chosen.include
    return name not in chosen.exclude


def offer(
    server: str,
    settings: McpServerSettings,
    catalogue: Catalogue,
    servers: Servers,
    find_orders: Callable[[str], str | None],
) -> Offer:
    """Make the tools of a server. One that cannot be used never keeps the others away."""
    tools: dict[str, McpTool] = {}
    rejected = dict(catalogue.rejected)
    for remote in sorted(catalogue.tools, key=lambda tool: tool.name):
        if not is_wanted(remote.name, settings.tools):
            continue
        if remote.name in {tool.original for tool in tools.values()}:
            rejected[remote.name] = "the server lists it twice"
            continue
        try:
            tool = _tool(server, settings, remote, servers, find_orders, tuple(tools))
        except UnusableSchemaError as error:
            rejected[remote.name] = str(error)
        else:
            tools[tool.definition.name] = tool
    for tool in _utilities(server, settings, catalogue, servers):
        # A tool of the same name is the server's own way to do it.
        tools.setdefault(tool.definition.name, tool)
    return Offer(tuple(tools.values()), rejected)


def _tool(
    server: str,
    settings: McpServerSettings,
    remote: RemoteTool,
    servers: Servers,
    find_orders: Callable[[str], str | None],
    taken: Sequence[str],
) -> McpTool:
    adapted = adapt(remote.parameters)
    for text in (remote.name, *_texts(remote.description, adapted.parameters)):
        if (reason := find_orders(text)) is not None:
            raise UnusableSchemaError(f"its description contains {reason}")
    description = remote.description.strip() or f"Tool {remote.name} of MCP server {server}."
    if adapted.note:
        description = f"{description}\n{adapted.note}"
    if len(description) > MAX_DESCRIPTION_CHARS:
        description = description[: MAX_DESCRIPTION_CHARS - 1] + "…"

    async def invoke(client: Client, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        return await client.call_tool(remote.name, arguments, context)

    return McpTool(
        ToolDefinition(tool_name(server, remote.name, taken), description, adapted.parameters),
        server,
        remote.name,
        servers,
        invoke,
        adapted.renamed,
        may_repeat=remote.is_read_only or remote.is_idempotent,
        is_parallel=settings.supports_parallel_tool_calls,
    )


def _texts(description: str, schema: Any) -> list[str]:
    """Every text of a tool that a model will read."""
    found = [description]
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            found += [str(value[key]) for key in ("description", "title") if isinstance(value.get(key), str)]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


def _utilities(
    server: str, settings: McpServerSettings, catalogue: Catalogue, servers: Servers
) -> list[McpTool]:
    rows = [
        *(RESOURCE_UTILITIES if catalogue.has_resources and settings.tools.resources else ()),
        *(PROMPT_UTILITIES if catalogue.has_prompts and settings.tools.prompts else ()),
    ]
    return [
        McpTool(
            ToolDefinition(tool_name(server, name), description.format(server=server), schema),
            server,
            "",
            servers,
            invoke,
            may_repeat=True,
            is_parallel=settings.supports_parallel_tool_calls,
        )
        for name, description, schema, invoke in rows
    ]
