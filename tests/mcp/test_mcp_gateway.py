"""MCP servers of a running gateway: background connects, signing in from a chat, reloading."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp_bench import SERVERS, is_alive
from oauth_protected import Protected, protected
from oauth_stage import browse

from hermes_agent.config.paths import Home

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway"))
from gateway_process import Gateway
from loopback_server import LoopbackServer

RAW = [sys.executable, "-I", str(SERVERS / "raw_server.py")]


@pytest.fixture
async def stage(home: Home) -> AsyncIterator[Protected]:
    async with protected(home.mcp_tokens) as made:
        yield made


@pytest.fixture
async def gateway(home: Home, model_server: Any) -> AsyncIterator[Gateway]:
    rules = [
        {"when": {"after": "tool"}, "text": "It said: {{tool_result}}"},
        {
            "when": {"user": "ask the notes", "offers": "mcp_notes_echo"},
            "tool_calls": [{"name": "mcp_notes_echo", "arguments": {"text": "hello"}}],
        },
        {"text": "I cannot."},
    ]
    model = model_server({"rules": rules})
    with LoopbackServer() as server:
        made = Gateway(home, server)
        made.settings = {
            "model": {"provider": "custom", "base_url": model.base_url, "default": "script"},
            "gateway": {"owners": "u1"},
            "mcp": {"discovery_wait": 60},  # on a busy machine, too, what a server says comes first
        }
        yield made
        if made.process is not None and made.process.poll() is None:
            await asyncio.to_thread(made.stop)


async def say(gateway: Gateway, text: str, answer: str, chat: str = "c1", sender: str = "u1") -> str:
    """Write to the agent; what was answered, once it has these words in it."""
    server = gateway.server
    seen = len(server.texts(chat))

    def found() -> str:
        return next((each for each in server.texts(chat)[seen:] if answer in each), "")

    await asyncio.to_thread(server.say, text, chat=chat, sender=sender)
    await asyncio.to_thread(server.wait_for, lambda: bool(found()))
    return found()


async def test_an_owner_signs_in_from_a_chat_and_the_tools_come(gateway: Gateway, stage: Protected) -> None:
    gateway.settings["mcp_servers"] = {"notes": {"url": stage.resource.url, "auth": "oauth"}}
    await asyncio.to_thread(gateway.start)

    assert "I cannot." in await say(gateway, "ask the notes", "I cannot.")
    assert "needs a login" in "\n".join(gateway.server.texts("c1"))
    assert "/mcp login notes" in await say(gateway, "/mcp", "/mcp login notes")
    await say(gateway, "/mcp login notes", "for the owner", chat="c2", sender="u2")

    shown = await say(gateway, "/mcp login notes", "Open this address")
    url = re.search(r"http://\S+/authorize\?\S+", shown)
    assert url is not None
    address = (await browse(url[0], back=False)).headers["location"]
    await say(gateway, "/mcp login notes https://example.org/?code=1&state=2", "another attempt")
    await say(gateway, f"/mcp login notes {address}", "signed in to notes")

    async with asyncio.timeout(60):
        while "ready" not in await say(gateway, "/mcp", "notes (http)"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert "heard hello" in await say(gateway, "ask the notes", "It said")
    token = stage.files.load_token()
    assert token is not None
    logs = gateway.output() + "".join(path.read_text() for path in (gateway.home.root / "logs").iterdir())
    assert token.access_token not in logs
    assert address not in logs


async def test_a_login_in_another_process_is_enough_for_the_gateway(
    gateway: Gateway, stage: Protected
) -> None:
    gateway.settings["mcp_servers"] = {"notes": {"url": stage.resource.url, "auth": "oauth"}}
    await asyncio.to_thread(gateway.start)
    await say(gateway, "ask the notes", "I cannot.")
    await stage.login()
    async with asyncio.timeout(60):
        while "It said: heard hello" not in await say(gateway, "ask the notes", "I"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_servers_are_connected_when_the_gateway_is_ready_and_end_with_it(
    gateway: Gateway, tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    program = {"command": RAW[0], "args": [*RAW[1:], f"starts={starts}"]}
    gateway.settings["mcp_servers"] = {"raw": program, "gone": {"command": "no-such-program"}}
    await asyncio.to_thread(gateway.start)
    async with asyncio.timeout(60):
        while not starts.exists() or not starts.read_text().endswith("\n"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    (pid,) = map(int, starts.read_text().split())
    assert is_alive(pid)
    assert "raw (stdio): ready, 10 tools" in await say(gateway, "/reload-mcp", "raw (stdio)")
    assert not is_alive(pid)
    (_, pid) = map(int, starts.read_text().split())
    await asyncio.to_thread(gateway.kill)
    async with asyncio.timeout(60):
        while is_alive(pid):  # noqa: ASYNC110 - the guard ends it
            await asyncio.sleep(0.02)
