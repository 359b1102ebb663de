"""The client with a server of the SDK that wants tokens: mid-session refusals, rotation, needs_reauth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp_bench import Bench, sdk
from oauth_protected import Protected, protected

from hermes_agent.core.tool import ToolResult
from hermes_agent.mcp.oauth.errors import OAuthUnavailableError


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Protected]:
    async with protected(tmp_path / "mcp-tokens") as made:
        yield made


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

    async with asyncio.timeout(60):
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
    async with asyncio.timeout(60):
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
