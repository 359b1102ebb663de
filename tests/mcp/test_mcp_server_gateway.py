"""`hermes mcp serve` beside a real gateway: sending, waiting for answers, permissions."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from hermes_agent.config.paths import Home

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway"))
from gateway_process import Gateway
from loopback_server import LoopbackServer

KEY = "agent:main:loopback:dm:c1"


@pytest.fixture
def gateway(home: Home) -> Iterator[Gateway]:
    with LoopbackServer() as server:
        made = Gateway(home, server)
        yield made
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait(10)


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    found: dict[str, Any] = json.loads(result.content[0].text)
    return found


async def test_another_program_follows_sends_and_decides(gateway: Gateway) -> None:
    work = gateway.home.root.parent / "hello"
    work.mkdir()
    gateway.settings = {"terminal": {"cwd": str(work.parent)}}
    await asyncio.to_thread(gateway.start)
    server = gateway.server
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "hermes_agent", "mcp", "serve"], env=gateway.environment()
    )
    async with Client(stdio_client(parameters)) as client:
        start = (await call(client, "events_poll"))["next_cursor"]
        await asyncio.to_thread(server.say, "delete the folder hello", chat="c1")
        await asyncio.to_thread(server.wait_for_text, "May I run this?", chat="c1")

        waiting = (await call(client, "permissions_list_open"))["permissions"]
        assert len(waiting) == 1
        assert waiting[0]["session_key"].startswith("agent:main:loopback:dm:c1")
        assert "rm -r" in waiting[0]["action"]
        decided = await call(client, "permissions_respond", id=waiting[0]["id"], decision="allow-once")
        assert decided["action"] == waiting[0]["action"]
        await asyncio.to_thread(server.wait_for, lambda: not work.exists())
        assert (await call(client, "permissions_list_open"))["count"] == 0
        late = await client.call_tool("permissions_respond", {"id": waiting[0]["id"], "decision": "deny"})
        assert late.is_error

        cursor, said = start, []
        async with asyncio.timeout(60):
            while not any(event["role"] == "assistant" and event["content"] for event in said):
                found = await call(client, "events_wait", after_cursor=cursor, timeout_ms=5000)
                cursor, said = found["next_cursor"], [*said, *found["events"]]
        assert said[0]["content"].endswith("delete the folder hello")

        channel = (await call(client, "channels_list"))["channels"][0]
        assert channel["target"] == "loopback:c1"
        sent = await call(client, "messages_send", target=channel["session_key"], message="From an editor")
        assert sent["state"] == "sent"
        assert "From an editor" in server.texts("c1")
