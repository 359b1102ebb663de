"""An MCP server made with the SDK that wants tokens of an authority; one for a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from oauth_authority import Authority, Resource, serving
from oauth_stage import Stage
from pydantic import AnyHttpUrl


class Protected(Stage):
    """An MCP server made with the SDK, which asks the authority about every token."""

    async def verify_token(self, token: str) -> AccessToken | None:
        if not self.authority.is_good(token) or self.resource.refuses:
            return None
        known = self.authority.tokens[token]
        return AccessToken(
            token=token, client_id=known.client_id, scopes=known.scope.split(), resource=known.resource
        )

    def server(self) -> MCPServer:
        server = MCPServer(
            "protected",
            token_verifier=self,
            auth=AuthSettings(
                issuer_url=AnyHttpUrl(self.authority.issuer),
                resource_server_url=AnyHttpUrl(self.resource.url),
                required_scopes=["notes"],
                validate_token_resource=True,
            ),
        )

        @server.tool()
        async def echo(text: str) -> str:
            """Say it again."""
            return f"heard {text}"

        return server


class _Later:
    """An ASGI app that is made when its address is known."""

    def __init__(self) -> None:
        self.app = None

    async def __call__(self, scope, receive, send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@asynccontextmanager
async def protected(directory: Path) -> AsyncIterator[Protected]:
    """The server, its authority, and tokens in this directory."""
    async with AsyncExitStack() as stack:
        authority, later = Authority(), _Later()
        authority.origin, origin = await stack.enter_async_context(serving(authority.app(), later))
        resource = Resource(authority)
        resource.url = f"{origin}/mcp"
        made = Protected(directory, authority, resource)
        server = made.server()
        app = server.streamable_http_app(
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False)
        )
        later.app = app
        # A task of its own, because what the SDK enters must be left in the task that entered it.
        running, ended = asyncio.Event(), asyncio.Event()

        async def run() -> None:
            async with server.session_manager.run():
                running.set()
                await ended.wait()

        task = asyncio.create_task(run())
        await running.wait()
        try:
            yield made
        finally:
            for broker in made.brokers:
                await broker.aclose()
            ended.set()
            await task
