"""Begins a session with a server: the link, the protocol version, what the server offers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import mcp_types as types
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.mcp.client import ServerClient
from hermes_agent.mcp.errors import McpConnectionLostError, McpError, McpRequestError
from hermes_agent.mcp.ports import McpPorts, ServerAuth
from hermes_agent.mcp.transports import Link, Refusal, TransportName, open_link


@asynccontextmanager
async def open_client(
    name: str,
    settings: McpServerSettings,
    ports: McpPorts,
    transport: TransportName,
    auth: ServerAuth | None,
    refusal: Refusal,
) -> AsyncGenerator[ServerClient]:
    """Connect to a server; on leaving, the session and its process are ended.

    Raises:
        McpError: It cannot be started, or refused the session.
    """
    async with open_link(name, settings, ports, transport, auth, refusal) as link:
        client = ServerClient(name, settings, ports, link)
        async with client.session:
            try:
                await _negotiate(client.session)
                await client.refresh()
            except MCPError as error:
                raise _begin_error(client, link, error) from error
            except (RuntimeError, ValidationError) as error:
                raise McpRequestError(
                    name, f"MCP server {name!r} does not follow the protocol", why=str(error)[:500]
                ) from error
            client.news.start(client.session)
            try:
                yield client
            finally:
                await client.news.stop()


async def _negotiate(session: ClientSession) -> None:
    """The handshake that every server knows; the newest protocol where it is the only one.

    Not the other way round: most servers that speak both ask their questions (elicitation, sampling) in
    ways that only work after the handshake, and older ones may hang at a first message they do not know.
    """
    try:
        await session.initialize()
    except MCPError as error:
        if error.code not in (types.UNSUPPORTED_PROTOCOL_VERSION, types.METHOD_NOT_FOUND):
            raise
        await session.discover()


def _begin_error(client: ServerClient, link: Link, error: MCPError) -> McpError:
    if error.code != types.CONNECTION_CLOSED:
        return client.translate(error)
    return McpConnectionLostError(
        client.name,
        f"MCP server {client.name!r} ended before it was connected",
        why=link.last_words,
    )
