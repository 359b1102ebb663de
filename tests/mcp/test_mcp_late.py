"""Servers that are slow the first time, come back, or are configured anew: sessions get their tools later."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp_bench import Bench, is_alive, raw

from hermes_agent.agent.session import Session
from hermes_agent.app.container import App
from hermes_agent.config.loader import load
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.mcp import McpSettings
from hermes_agent.core.events import Notice
from hermes_agent.core.tool import ToolContext
from hermes_agent.mcp.errors import McpUnavailableError


def configure(home: Home, mcp: dict[str, Any] | None = None, **servers: Any) -> None:
    data = {
        "model": {"provider": "demo"},
        "mcp": mcp or {},
        "mcp_servers": {name: each.model_dump(exclude_defaults=True) for name, each in servers.items()},
    }
    home.config_file.write_text(json.dumps(data))


@pytest.fixture
async def apps(home: Home) -> AsyncIterator[list[App]]:
    made: list[App] = []
    yield made
    for app in made:
        await app.aclose()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("mcp-")] == []


def opened(home: Home, apps: list[App]) -> App:
    apps.append(App.load(home=home))
    return apps[-1]


async def say(session: Session, *, is_interactive: bool = True) -> list[str]:
    """Send a message; what people are shown beside the answer."""
    run = session.start("hello", is_interactive=is_interactive)
    return [event.text async for event in run if isinstance(event, Notice)]


def servers_of(session: Session) -> set[str]:
    names = (tool.name for tool in session.tool_definitions)
    return {name.split("_")[1] for name in names if name.startswith("mcp_")}


async def known(app: App, *, count: int) -> None:
    async with asyncio.timeout(30):
        while sum(status.tools > 0 for status in app.mcp.statuses()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_slow_new_server_joins_a_conversation_with_a_later_message(
    home: Home, apps: list[App], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    configure(home, {"discovery_wait": 0.5}, fast=raw(), slow=raw(gate=gate))
    app = opened(home, apps)
    session = await app.open_session()
    await known(app, count=1)

    async with asyncio.timeout(30):  # not the 60 s of `connect_timeout`
        notices = await say(session)
    assert servers_of(session) == {"fast"}
    assert notices == ["MCP server slow has not listed its tools yet; they come with a later message"]
    assert await say(session) == []

    gate.touch()
    await known(app, count=2)
    assert servers_of(session) == {"fast"}
    assert await say(session) == ["MCP tools came that can be used from now on: slow"]
    assert servers_of(session) == {"fast", "slow"}
    assert await say(session) == []


async def test_a_job_gets_the_tools_of_a_slow_server_at_once_or_not_at_all(
    home: Home, apps: list[App], tmp_path: Path
) -> None:
    gate, starts = tmp_path / "gate", tmp_path / "starts"
    configure(home, {"discovery_wait": 0.01}, slow=raw(gate=gate, starts=starts))
    app = opened(home, apps)
    session = await app.open_session()
    run = asyncio.create_task(say(session, is_interactive=False))
    async with asyncio.timeout(10):
        while not starts.exists():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
    assert not run.done()
    gate.touch()
    assert await run == []
    assert servers_of(session) == {"slow"}

    configure(home, {"discovery_timeout": 0.1}, never=raw(gate=tmp_path / "never"))
    session = await opened(home, apps).open_session()
    assert await say(session, is_interactive=False) == [
        "MCP server never has not listed its tools yet; this run goes on without them"
    ]


async def test_nobody_waits_for_a_server_that_has_been_slow_for_long(bench: Bench, tmp_path: Path) -> None:
    common = McpSettings(discovery_wait=60, discovery_timeout=0.05)
    manager = bench.manager(common, slow=raw(gate=tmp_path / "never"))
    assert await manager.discovered() == ()
    async with asyncio.timeout(30):
        assert await manager.discovered(is_attended=True) == ()
    assert manager.unknown() == {"slow"}


async def test_a_server_that_was_given_up_is_tried_again_with_the_next_message(
    home: Home, apps: list[App], tmp_path: Path
) -> None:
    program = tmp_path / "program"
    broken = raw().model_copy(update={"command": str(program)})
    configure(home, fixed=broken)
    app = opened(home, apps)
    session = await app.open_session()
    (notice,) = await say(session)
    assert notice.startswith("MCP server fixed (stdio): failed - ")
    connection = app.mcp.manager().connection("fixed")  # type: ignore[union-attr]
    connection._is_parked = True  # after all its retries; they would take a minute
    assert await say(session) == []  # told once

    program.symlink_to(raw().command)
    await say(session)
    await known(app, count=1)
    assert "MCP tools came" in (await say(session))[0]
    assert servers_of(session) == {"fixed"}


async def test_servers_that_were_slow_at_a_reload_still_come(
    home: Home, apps: list[App], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    configure(home, {"discovery_timeout": 0.2}, fast=raw())
    app = opened(home, apps)
    session = await app.open_session()
    await known(app, count=1)
    await say(session)
    configure(home, {"discovery_timeout": 0.2}, fast=raw(), slow=raw(gate=gate))
    statuses = {status.name: status.state for status in await session.reload_mcp()}
    assert statuses["slow"] == "connecting"
    assert servers_of(session) == {"fast"}  # known from before, connected or not
    gate.touch()
    await known(app, count=2)
    assert await say(session) == ["MCP tools came that can be used from now on: slow"]


async def test_a_changed_configuration_leaves_the_other_servers_alone(
    home: Home, apps: list[App], tmp_path: Path
) -> None:
    """What `/reload` does in the gateway, while conversations go on."""
    starts = {name: tmp_path / name for name in ("same", "changed", "new", "removed")}
    configure(
        home,
        same=raw(starts=starts["same"]),
        changed=raw(starts=starts["changed"]),
        removed=raw(starts=starts["removed"]),
    )
    app = opened(home, apps)
    session = await app.open_session()
    await say(session)
    tools = {tool.definition.name: tool for tool in session.tools}
    pids = {name: int(starts[name].read_text()) for name in ("same", "changed", "removed")}

    configure(
        home,
        same=raw(starts=starts["same"]),
        changed=raw(starts=starts["changed"], page=3),
        new=raw(starts=starts["new"]),
    )
    app.adopt(load(home))
    second = await app.open_session()
    await say(second)

    assert servers_of(second) == {"same", "changed", "new"}
    assert int(starts["same"].read_text()) == pids["same"]
    assert is_alive(pids["same"])
    assert not is_alive(pids["changed"])
    assert not is_alive(pids["removed"])
    around = ToolContext(session.scope)
    assert (await tools["mcp_same_echo"].run({"text": "x"}, around)).text == "x"
    assert (await tools["mcp_changed_echo"].run({"text": "y"}, around)).text == "y"
    with pytest.raises(McpUnavailableError, match="'removed' is not configured any more"):
        await tools["mcp_removed_echo"].run({"text": "x"}, around)
    started = [int(line) for path in starts.values() for line in path.read_text().split()]
    await app.aclose()
    assert [pid for pid in started if is_alive(pid)] == []
    with pytest.raises(McpUnavailableError):  # nothing is started again behind our back
        await tools["mcp_same_echo"].run({"text": "x"}, around)
    assert len(starts["same"].read_text().split()) == 1
