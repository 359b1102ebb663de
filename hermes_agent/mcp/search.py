"""Many tools behind two: `tool_search` finds them, `tool_call` runs them.

Used when the schemas of all servers would fill too much of every request. The two stay the same
whatever is found, so the prompt prefix does too.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hermes_agent.core.approvals import Allowed, Verdict
from hermes_agent.core.errors import ToolArgumentsError
from hermes_agent.core.model import ToolDefinition
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.mcp.tools import EMOJI, Arguments, McpTool, one_line, text_argument

CHARS_PER_TOKEN = 4
DEFAULT_FOUND, MAX_FOUND = 5, 20
_WORD = re.compile(r"[a-z0-9]+")


def tokens_of(tools: Sequence[Tool]) -> int:
    """About how many tokens the definitions of these tools take."""
    return (
        sum(
            len(tool.definition.name)
            + len(tool.definition.description)
            + len(json.dumps(tool.definition.parameters))
            for tool in tools
        )
        // CHARS_PER_TOKEN
    )


def deferred(tools: Sequence[McpTool], max_tokens: int) -> tuple[Tool, ...]:
    """The tools themselves, or the two that stand for them if they are longer than `max_tokens`."""
    if not max_tokens or tokens_of(tools) <= max_tokens:
        return tuple(tools)
    return (ToolSearch(tools), ToolCallTool(tools))


class ToolSearch:
    """Finds tools by words, and shows how they are called."""

    emoji = "🔎"

    def __init__(self, tools: Sequence[McpTool]) -> None:
        self._tools = tuple(tools)
        self._index = [(_words(tool), tool) for tool in self._tools]
        seen = Counter(word for words, _ in self._index for word in set(words))
        self._weights = {word: math.log(1 + len(self._tools) / count) for word, count in seen.items()}
        servers = Counter(tool.server for tool in self._tools)
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(servers.items()))
        self.definition = ToolDefinition(
            "tool_search",
            "Find tools of connected MCP servers by what they do. Shows their names, descriptions and "
            f"argument schemas; run one with tool_call. Servers (tools): {listed}.",
            {
                "type": "object",
                "properties": {
                    "query": {
                        "type": "string",
                        "description": "What the tool should do, a server's name, or an exact tool name",
                    },
                    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_FOUND},
                },
                "required": ["query"],
            },
        )

    def is_parallel_safe(self, _arguments: Arguments) -> bool:
        """It only looks."""
        return True

    def touched_paths(self, _arguments: Arguments, _context: ToolContext) -> tuple[str, ...] | None:
        """None at all."""
        return ()

    def preview(self, arguments: Arguments) -> str:
        """The query."""
        return str(arguments.get("query", ""))[:120]

    def review(self, _arguments: Arguments, _context: ToolContext) -> Verdict:
        """Harmless."""
        return Allowed()

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:  # noqa: ARG002
        """Search."""
        query = text_argument(arguments, "query")
        limit = arguments.get("limit", DEFAULT_FOUND)
        limit = min(MAX_FOUND, max(1, limit)) if isinstance(limit, int) else DEFAULT_FOUND
        found = self.find(query)[:limit]
        if not found:
            names = ", ".join(sorted({tool.server for tool in self._tools}))
            return ToolResult(f"No tool fits {query!r}. Servers: {names}.", summary="nothing found")
        rows = [
            json.dumps(
                {
                    "name": tool.definition.name,
                    "description": tool.definition.description,
                    "parameters": tool.definition.parameters,
                },
                ensure_ascii=False,
            )
            for tool in found
        ]
        return ToolResult("\n".join(rows), summary=f"{len(found)} tools")

    def find(self, query: str) -> list[McpTool]:
        """Tools that fit, best first."""
        wanted = set(_WORD.findall(query.lower()))
        scored = []
        for position, (words, tool) in enumerate(self._index):
            if query.strip() in (tool.definition.name, tool.original):
                return [tool]
            score = sum(self._weights[word] * min(3, words[word]) for word in wanted if word in words) + sum(
                self._weights[word] / 2
                for want in wanted
                for word in words
                if len(want) > 3 and want != word and word.startswith(want)
            )
            if score > 0:
                scored.append((-score, position, tool))
        return [tool for _, _, tool in sorted(scored, key=lambda row: row[:2])]


def _words(tool: McpTool) -> Counter[str]:
    words = Counter(_WORD.findall(tool.definition.description.lower()))
    for word in _WORD.findall(f"{tool.server} {tool.original}".lower().replace("_", " ")):
        words[word] += 3
    properties = tool.definition.parameters.get("properties", {})
    for name in properties if isinstance(properties, Mapping) else ():
        words.update(_WORD.findall(str(name).lower()))
    return words


class ToolCallTool:
    """Runs a tool that `tool_search` found."""

    def __init__(self, tools: Sequence[McpTool]) -> None:
        self._tools = {tool.definition.name: tool for tool in tools}
        self.definition = ToolDefinition(
            "tool_call",
            "Run a tool of an MCP server that tool_search showed, with arguments of its schema.",
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "As tool_search showed it"},
                    "arguments": {"type": "object"},
                },
                "required": ["name"],
            },
        )

    emoji = EMOJI

    def _target(self, arguments: Arguments) -> tuple[McpTool, dict[str, Any]]:
        name = text_argument(arguments, "name")
        given = arguments.get("arguments") or {}
        tool = self._tools.get(name)
        if tool is None:
            raise ToolArgumentsError(f"There is no tool {name!r}. Find one with tool_search.")
        if not isinstance(given, Mapping):
            raise ToolArgumentsError("'arguments' must be an object")
        return tool, dict(given)

    def is_parallel_safe(self, arguments: Arguments) -> bool:
        """As the tool that is called."""
        tool = self._tools.get(str(arguments.get("name")))
        return tool is not None and tool.is_parallel

    def touched_paths(self, _arguments: Arguments, _context: ToolContext) -> tuple[str, ...] | None:
        """Unknown."""
        return None

    def preview(self, arguments: Arguments) -> str:
        """Name and arguments of the tool that is called."""
        given = arguments.get("arguments")
        return f"{arguments.get('name', '')} {one_line(given if isinstance(given, Mapping) else {})}".strip()

    def review(self, arguments: Arguments, context: ToolContext) -> Verdict:
        """As the tool that is called."""
        try:
            tool, given = self._target(arguments)
        except ToolArgumentsError:
            return Allowed()
        return tool.review(given, context)

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """Call it."""
        tool, given = self._target(arguments)
        return await tool.run(given, context)
