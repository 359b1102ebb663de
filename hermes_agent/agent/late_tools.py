"""Tools of MCP servers that were not known when a session was opened.

They are taken at the start of a run, never within one: the prompt prefix of a run stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hermes_agent.core.mcp import McpControl
from hermes_agent.core.tool import Tool

if TYPE_CHECKING:
    from hermes_agent.agent.session import Session


class LateTools:
    """Waits a moment before the first message of a session, and looks again before every later one.

    Args:
        mcp: The servers.
        toolsets: Toolset names of the session.
        make_tools: All tools of the session, those of MCP servers as far as they are known.
    """

    def __init__(
        self, mcp: McpControl, toolsets: Sequence[str], make_tools: Callable[[Sequence[str]], Sequence[Tool]]
    ) -> None:
        self._mcp = mcp
        self._toolsets = toolsets
        self._make_tools = make_tools
        self._missing = mcp.unknown(toolsets)
        self._is_first = True
        self._told: set[str] = set()

    def look_anew(self) -> None:
        """The session has taken all tools that are known now."""
        self._missing = self._mcp.unknown(self._toolsets)
        self._is_first = False

    async def take(self, session: Session) -> None:
        """Give the session what came; tell its people of what did not."""
        is_first, self._is_first = self._is_first, False
        run = session.current_run
        is_attended = run is not None and run.is_interactive
        if self._missing and is_first:
            await self._mcp.discover(self._toolsets, is_attended=is_attended)
        elif self._missing:
            self._mcp.try_again(self._missing)
        came = self._missing - self._mcp.unknown(self._toolsets)
        if came:
            self._missing -= came
            session.use_tools(self._make_tools(self._toolsets))
            if not is_first:
                session.count_context(0)
                session.show(f"MCP tools came that can be used from now on: {', '.join(sorted(came))}")
        if is_first or self._missing:
            self._warn(session, is_first=is_first, is_attended=is_attended)

    def _warn(self, session: Session, *, is_first: bool, is_attended: bool) -> None:
        later = "they come with a later message" if is_attended else "this run goes on without them"
        for status in self._mcp.statuses():
            name, is_missing = status.name, status.name in self._missing
            if status.state in ("failed", "needs_reauth"):
                if name not in self._told and (is_first or is_missing):
                    self._told.add(name)
                    session.warnings.append(f"MCP server {status.line}")
            elif is_missing and is_first:
                session.warnings.append(f"MCP server {name} has not listed its tools yet; {later}")
