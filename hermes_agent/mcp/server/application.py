"""The MCP server itself: the SDK's, with our tools. Errors are told to the client as tool results."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, ParamSpec

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from hermes_agent import __version__
from hermes_agent.core.errors import HermesError
from hermes_agent.mcp.server.actions import Actions, Answer
from hermes_agent.mcp.server.conversations import Conversations
from hermes_agent.mcp.server.ports import ServerPorts

_INSTRUCTIONS = (
    "The conversations of a Hermes agent. conversations_list shows them; a session_key names one. "
    "events_poll without a cursor gives the cursor to begin with. Sending and permissions need its gateway."
)

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_SENDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=True)
_DECIDES = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)

_log = logging.getLogger(__name__)
ArgumentsT = ParamSpec("ArgumentsT")

Key = Annotated[str, Field(description="Names a conversation; see conversations_list.")]
Platform = Annotated[str | None, Field(description="Only this one: telegram, discord, cli …")]
Cursor = Annotated[
    int | None, Field(description="next_cursor of the last call; none begins with what comes.")
]


def build_server(ports: ServerPorts, *, is_read_only: bool = False) -> MCPServer:
    """The server with its tools; `is_read_only` leaves out those that act."""
    server: MCPServer = MCPServer(
        "hermes", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING"
    )
    conversations = Conversations(ports)
    _add_reading(server, conversations)
    actions = Actions(ports, conversations)
    _add_permissions(server, actions)
    if not is_read_only:
        _add_acting(server, actions)
    return server


def _add_reading(server: MCPServer, conversations: Conversations) -> None:
    @server.tool(annotations=_READS)
    @_told
    async def conversations_list(
        platform: Platform = None,
        limit: Annotated[int, Field(ge=1, le=200)] = 50,
        search: Annotated[str | None, Field(description="Words of a title or a message.")] = None,
    ) -> dict[str, Any]:
        """List conversations, the most recently used first."""
        return await conversations.overview(platform, limit, search)

    @server.tool(annotations=_READS)
    @_told
    async def conversation_get(session_key: Key) -> dict[str, Any]:
        """Show one conversation: where it takes place, its model, its size."""
        return await conversations.get(session_key)

    @server.tool(annotations=_READS)
    @_told
    async def messages_read(
        session_key: Key, limit: Annotated[int, Field(ge=1, le=200)] = 50
    ) -> dict[str, Any]:
        """Read the newest messages of a conversation, oldest first."""
        return await conversations.read(session_key, limit)

    @server.tool(annotations=_READS)
    @_told
    async def attachments_fetch(session_key: Key, message_id: str | int) -> dict[str, Any]:
        """Fetch the images of one message."""
        return await conversations.attachments(session_key, _number(message_id))

    @server.tool(annotations=_READS)
    @_told
    async def events_poll(
        after_cursor: Cursor = None,
        session_key: Annotated[str | None, Field(description="Only this conversation.")] = None,
        limit: Annotated[int, Field(ge=1, le=200)] = 20,
    ) -> dict[str, Any]:
        """What was said since a cursor."""
        return await conversations.poll(after_cursor, session_key, limit)

    @server.tool(annotations=_READS)
    @_told
    async def events_wait(
        after_cursor: Cursor = None,
        session_key: Annotated[str | None, Field(description="Only this conversation.")] = None,
        limit: Annotated[int, Field(ge=1, le=200)] = 20,
        timeout_ms: Annotated[int, Field(ge=0, le=300_000)] = 30_000,
    ) -> dict[str, Any]:
        """Wait for something to be said after a cursor."""
        return await conversations.wait(after_cursor, session_key, limit, timeout_ms)

    @server.tool(annotations=_READS)
    @_told
    async def channels_list(platform: Platform = None) -> dict[str, Any]:
        """List where messages can be sent."""
        return await conversations.channels(platform)


def _add_permissions(server: MCPServer, actions: Actions) -> None:
    @server.tool(annotations=_READS)
    @_told
    async def permissions_list_open() -> dict[str, Any]:
        """List what the agent wants to do and waits to be allowed."""
        return await actions.open_permissions()


def _add_acting(server: MCPServer, actions: Actions) -> None:
    @server.tool(annotations=_SENDS)
    @_told
    async def messages_send(
        target: Annotated[str, Field(description="platform:chat, or a session key; see channels_list.")],
        message: Annotated[str, Field(description="Markdown.")],
    ) -> dict[str, Any]:
        """Send a message to a chat."""
        return await actions.send(target, message)

    @server.tool(annotations=_DECIDES)
    @_told
    async def permissions_respond(
        id: Annotated[str, Field(description="See permissions_list_open.")],  # noqa: A002 - the client's word
        decision: Answer,
    ) -> dict[str, Any]:
        """Allow or deny what the agent waits for."""
        return await actions.respond(id, decision)


def _number(message_id: str | int) -> int:
    try:
        return int(message_id)
    except ValueError as error:
        raise ToolError(f"{message_id!r} is no message id") from error


def _told(
    tool: Callable[ArgumentsT, Awaitable[dict[str, Any]]],
) -> Callable[ArgumentsT, Awaitable[dict[str, Any]]]:
    """Tell the client what went wrong, in the words that people get."""

    @functools.wraps(tool)
    async def told(*args: ArgumentsT.args, **kwargs: ArgumentsT.kwargs) -> dict[str, Any]:
        try:
            return await tool(*args, **kwargs)
        except HermesError as error:
            raise ToolError(". ".join(error.lines)) from error

    return told
