"""What the tests of signing in share: an authority, a server that trusts it, a broker, a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from oauth_authority import Authority, Resource, serving

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.mcp.oauth.broker import OAuthBroker
from hermes_agent.mcp.oauth.files import StoredToken, TokenFiles


@dataclass
class Stage:
    directory: Path
    authority: Authority
    resource: Resource
    brokers: list[OAuthBroker] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    @property
    def files(self) -> TokenFiles:
        return TokenFiles(self.directory, "notes")

    def settings(self, **oauth: Any) -> McpServerSettings:
        oauth.setdefault("timeout", 60)
        return McpServerSettings.model_validate({"url": self.resource.url, "auth": "oauth", "oauth": oauth})

    def broker(self) -> OAuthBroker:
        broker = OAuthBroker(self.directory, self.secrets.append)
        self.brokers.append(broker)
        return broker

    async def login(self, broker: OAuthBroker | None = None, **oauth: Any) -> StoredToken:
        """Sign in with a browser on this machine."""
        browsers: list[asyncio.Task[httpx2.Response]] = []

        def show(url: str, _redirect: str) -> None:
            browsers.append(asyncio.create_task(browse(url)))

        token = await (broker or self.broker()).login("notes", self.settings(**oauth), show=show)
        await asyncio.gather(*browsers)
        return token

    async def call(self, broker: OAuthBroker, what: str = "", **oauth: Any) -> httpx2.Response:
        """A request with the broker's credential, as a connection that has worked before makes it."""
        auth = broker.make_auth("notes", self.settings(**oauth)).http_auth()
        auth._is_first = False
        async with httpx2.AsyncClient(auth=auth, verify=False) as client:
            return await client.post(f"{self.resource.url}?what={what}")


async def browse(url: str, *, back: bool = True) -> httpx2.Response:
    """Open an address and go wherever it leads; `back=False` stops before the loopback address."""
    async with httpx2.AsyncClient(verify=False) as client:
        response = await client.get(url)
        if back:
            assert response.status_code == 302, response.text
            return await client.get(response.headers["location"])
        return response


Make = Callable[..., Any]


@asynccontextmanager
async def staged(directory: Path, **authority: Any) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        maker = Authority(**authority)
        resource = Resource(maker)
        maker.origin, origin = await stack.enter_async_context(serving(maker.app(), resource.app()))
        resource.url = f"{origin}/mcp"
        stage = Stage(directory, maker, resource)
        yield stage
        for broker in stage.brokers:
            await broker.aclose()
