"""The client with a server of the SDK that wants tokens: mid-session refusals, rotation, needs_reauth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from mcp_bench import Bench, sdk
from oauth_authority import Authority, serving
from oauth_stage import Stage
from pydantic import AnyHttpUrl

from hermes_agent.core.tool import ToolResult
from hermes_agent.mcp.oauth.errors import OAuthUnavailableError


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


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Protected]:
    from oauth_authority import Resource

    async with AsyncExitStack() as stack:
        authority, later = Authority(), _Later()
        authority.origin, origin = await stack.enter_async_context(serving(authority.app(), later))
        resource = Resource(authority)
        resource.url = f"{origin}/mcp"
        made = Protected(tmp_path / "mcp-tokens", authority, resource)
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


async def call(bench: Bench, manager: object, text: str = "x") -> ToolResult:
    return await bench.call(manager, "mcp_notes_echo", text=text)  # type: ignore[arg-type]


async def test_a_session_outlives_its_tokens(stage: Protected, bench: Bench) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    manager = bench.manager(ports={"make_auth": broker.make_auth}, notes=stage.settings())
    assert (await call(bench, manager, "one")).text == "heard one"

    for turn in range(3):
        stage.authority.expire(stage.files.load_token().access_token)
        assert (await call(bench, manager, str(turn))).text == f"heard {turn}"

    assert stage.authority.calls["refresh_token"] == 3
    assert stage.authority.reuses == 0
    assert stage.files.load_token().scope == token.scope == "notes"


async def test_calls_at_the_same_time_share_one_renewal(stage: Protected, bench: Bench) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    manager = bench.manager(ports={"make_auth": broker.make_auth}, notes=stage.settings())
    await call(bench, manager)
    stage.authority.expire(token.access_token)

    results = await asyncio.gather(*(call(bench, manager, str(n)) for n in range(10)))

    assert [result.text for result in results] == [f"heard {n}" for n in range(10)]
    assert stage.authority.calls["refresh_token"] == 1


async def test_the_model_is_told_of_an_ended_grant_and_a_login_is_enough(
    stage: Protected, bench: Bench
) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    manager = bench.manager(ports={"make_auth": broker.make_auth}, notes=stage.settings())
    await call(bench, manager)
    stage.authority.ended.add(stage.authority.tokens[token.access_token].grant)

    refused = await call(bench, manager)

    said = json.loads(refused.text)
    assert refused.is_error
    assert (said["needs_reauth"], said["server"]) == (True, "notes")
    assert [status.state for status in manager.statuses()] == ["needs_reauth"]
    assert stage.files.load_token() == token

    await stage.login(stage.broker())  # another process
    assert (await call(bench, manager, "again")).text == "heard again"


async def test_a_server_that_wants_a_login_holds_up_no_other(stage: Protected, bench: Bench) -> None:
    broker = stage.broker()
    manager = bench.manager(ports={"make_auth": broker.make_auth}, notes=stage.settings(), other=sdk())

    async with asyncio.timeout(20):
        tools = await manager.discovered()

    names = {tool.definition.name for tool in tools}
    assert any(name.startswith("mcp_other_") for name in names)
    states = {status.name: status.state for status in manager.statuses()}
    assert states == {"notes": "needs_reauth", "other": "ready"}


async def test_after_signing_in_the_tools_of_a_new_server_come(stage: Protected, bench: Bench) -> None:
    broker = stage.broker()
    manager = bench.manager(ports={"make_auth": broker.make_auth}, notes=stage.settings())
    assert await manager.discovered() == ()
    manager.try_again(["notes"])  # somebody writes, and has not signed in
    await stage.login(stage.broker())  # another process
    async with asyncio.timeout(10):
        while manager.unknown():
            manager.try_again(["notes"])
            await asyncio.sleep(0.01)
    assert "mcp_notes_echo" in {tool.definition.name for tool in manager.tools()}


async def test_a_failing_authority_is_no_reason_to_sign_in(stage: Protected, bench: Bench) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    manager = bench.manager(ports={"make_auth": broker.make_auth}, notes=stage.settings())
    await call(bench, manager)
    stage.authority.expire(token.access_token)
    stage.authority.down = (500, -1)

    with pytest.raises(OAuthUnavailableError) as caught:
        await call(bench, manager)

    assert token.access_token not in " ".join(caught.value.lines)
    assert [status.state for status in manager.statuses()] == ["ready"]
    assert stage.files.load_token() == token
