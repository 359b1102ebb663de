"""Opens a session with a server by whichever transport it speaks, and names what goes wrong.

`connection` loads this module, and with it the SDK, at its first connect.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import httpx2
from mcp.client.auth import OAuthFlowError

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.mcp.client import ServerClient
from hermes_agent.mcp.errors import McpAuthError, McpConnectionLostError, McpError, McpUnavailableError
from hermes_agent.mcp.handshake import open_client
from hermes_agent.mcp.ports import McpPorts, ServerAuth
from hermes_agent.mcp.transports import Refusal, transport_names

_OTHER_TRANSPORT = frozenset({400, 404, 405, 406, 415, 501})
"""What a server answers that speaks the other HTTP transport."""


@asynccontextmanager
async def open_session(
    name: str, settings: McpServerSettings, ports: McpPorts, auth: ServerAuth | None
) -> AsyncGenerator[ServerClient]:
    """Connect to a server and learn what it offers.

    Raises:
        McpError: It cannot be reached, refused, or wants a login. What else happens during the session
            comes as it is; see `as_error`.
    """
    if not settings.url and not settings.command:
        raise McpUnavailableError(
            name,
            f"MCP server {name!r} has neither a command nor a url",
            remedy=f"hermes mcp configure {name}",
        )
    async with AsyncExitStack() as stack:
        yield await _first(stack, name, settings, ports, auth)


async def _first(
    stack: AsyncExitStack,
    name: str,
    settings: McpServerSettings,
    ports: McpPorts,
    auth: ServerAuth | None,
) -> ServerClient:
    """Enter the first transport that works."""
    ways = transport_names(settings)
    first_error: McpError | None = None
    for index, transport in enumerate(ways):
        refusal = Refusal()
        try:
            return await stack.enter_async_context(
                open_client(name, settings, ports, transport, auth, refusal)
            )
        except Exception as error:
            mapped = as_error(name, error, refusal)
            first_error = first_error or mapped
            may_go_on = index + 1 < len(ways) and refusal.status in _OTHER_TRANSPORT
            if isinstance(mapped, McpAuthError) or not may_go_on:
                raise first_error from error
    raise AssertionError("unreachable")


def as_error(name: str, error: BaseException, refusal: Refusal | None = None) -> McpError:
    """Whatever the SDK, the HTTP library or a transport raised, in our words."""
    found = list(_leaves(error))
    for leaf in found:
        if isinstance(leaf, McpAuthError):
            return leaf
        if isinstance(leaf, OAuthFlowError):
            return McpAuthError(name, str(leaf))
    if refusal is not None and refusal.status == 401:
        return McpAuthError(name, "It answered with HTTP 401")
    for leaf in found:
        if isinstance(leaf, McpError):
            return _with_status(leaf, refusal)
    for leaf in found:
        if isinstance(leaf, httpx2.HTTPStatusError):
            status = leaf.response.status_code
            return McpUnavailableError(name, f"MCP server {name!r} answered with HTTP {status}")
        if isinstance(leaf, httpx2.HTTPError | OSError | ssl.SSLError):
            return McpUnavailableError(
                name, f"MCP server {name!r} cannot be reached", why=str(leaf) or type(leaf).__name__
            )
        if isinstance(leaf, anyio.BrokenResourceError | anyio.ClosedResourceError | anyio.EndOfStream):
            return McpConnectionLostError(name, f"MCP server {name!r} went away")
    leaf = found[0] if found else error
    return McpUnavailableError(
        name, f"MCP server {name!r} failed", why=f"{type(leaf).__name__}: {leaf}"[:500]
    )


def _with_status(error: McpError, refusal: Refusal | None) -> McpError:
    if refusal is not None and refusal.status >= 400 and not error.why:
        error.why = f"It answered with HTTP {refusal.status}"
    return error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
