"""Tools of MCP servers as `core.tool.Tool`s.

They hold no connection: the manager is asked for the server when a call is made, so a tool outlives
reconnects and reloads.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from hermes_agent.core.approvals import Allowed, Verdict
from hermes_agent.core.errors import ToolArgumentsError
from hermes_agent.core.model import ToolDefinition
from hermes_agent.core.tool import ToolContext, ToolResult
from hermes_agent.mcp.errors import McpAuthError
from hermes_agent.mcp.ports import Client
from hermes_agent.mcp.texts import whole

EMOJI = "🔌"
PREVIEW_CHARS = 120

Arguments: TypeAlias = Mapping[str, Any]
Action: TypeAlias = Callable[[Client], Awaitable[ToolResult]]


class Servers(Protocol):
    """Where calls go."""

    async def use(
        self, server: str, action: Action, *, may_repeat: bool, report: Callable[[str], None]
    ) -> ToolResult:
        """Do something with a connected server; raises `McpError`. `report` is told of a wait for it."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class McpTool:
    """One tool of a server, or one of the utilities that list and read what else it has.

    Attributes:
        server: Its server's name.
        original: The server's own name of the tool; empty for utilities.
        renamed: Property names for models to the server's own.
        invoke: Makes the call, with the server's own argument names.
        may_repeat: Calling it twice does no harm.
        is_parallel: May run beside others.
    """

    definition: ToolDefinition
    server: str
    original: str
    servers: Servers
    invoke: Callable[[Client, dict[str, Any], ToolContext], Awaitable[ToolResult]]
    renamed: Mapping[str, str] = field(default_factory=dict)
    may_repeat: bool = False
    is_parallel: bool = False

    @property
    def emoji(self) -> str:
        """A plug."""
        return EMOJI

    def is_parallel_safe(self, _arguments: Arguments) -> bool:
        """As configured for the server."""
        return self.is_parallel

    def touched_paths(self, _arguments: Arguments, _context: ToolContext) -> tuple[str, ...] | None:
        """Unknown."""
        return None

    def preview(self, arguments: Arguments) -> str:
        """The arguments, shortened."""
        return one_line(arguments)

    def review(self, _arguments: Arguments, _context: ToolContext) -> Verdict:
        """Whoever configured the server allowed its tools; which ones is what `tools.exclude` is for."""
        return Allowed()

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """Call the server."""
        own = whole({self.renamed.get(name, name): value for name, value in arguments.items()})
        try:
            return await self.servers.use(
                self.server,
                lambda client: self.invoke(client, own, context),
                may_repeat=self.may_repeat,
                report=context.report,
            )
        except McpAuthError as error:
            return error.result()


def one_line(arguments: Arguments) -> str:
    """Arguments as one short line."""
    if not arguments:
        return ""
    text = " ".join(json.dumps(dict(arguments), ensure_ascii=False, default=str)[:400].split())
    return text if len(text) <= PREVIEW_CHARS else text[: PREVIEW_CHARS - 1] + "…"


def text_argument(arguments: Arguments, name: str) -> str:
    """A text that must be there.

    Raises:
        ToolArgumentsError: It is not.
    """
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise ToolArgumentsError(f"{name!r} is missing: a text is needed")
    return value


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


async def _list_resources(client: Client, _arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    return await client.list_resources(context)


async def _read_resource(client: Client, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    return await client.read_resource(text_argument(arguments, "uri"), context)


async def _list_prompts(client: Client, _arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    return await client.list_prompts(context)


async def _get_prompt(client: Client, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    given = arguments.get("arguments") or {}
    if not isinstance(given, Mapping):
        raise ToolArgumentsError("'arguments' must be an object of texts")
    texts = {
        str(name): value if isinstance(value, str) else json.dumps(value) for name, value in given.items()
    }
    return await client.get_prompt(text_argument(arguments, "name"), texts, context)


Invoke: TypeAlias = Callable[[Client, dict[str, Any], ToolContext], Awaitable[ToolResult]]

RESOURCE_UTILITIES: tuple[tuple[str, str, dict[str, Any], Invoke], ...] = (
    ("list_resources", "List the resources of MCP server {server}.", _object(), _list_resources),
    (
        "read_resource",
        "Read a resource of MCP server {server}.",
        _object("uri", uri={"type": "string", "description": "As listed, or made from a template"}),
        _read_resource,
    ),
)
PROMPT_UTILITIES: tuple[tuple[str, str, dict[str, Any], Invoke], ...] = (
    ("list_prompts", "List the prompts of MCP server {server}.", _object(), _list_prompts),
    (
        "get_prompt",
        "Get a prompt of MCP server {server}, filled in.",
        _object(
            "name",
            name={"type": "string"},
            arguments={"type": "object", "additionalProperties": {"type": "string"}},
        ),
        _get_prompt,
    ),
)
