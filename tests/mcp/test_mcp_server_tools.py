"""`hermes mcp serve`, with the SDK's own client, over both transports."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from hermes_agent.app.daemon.control import ControlSocket
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError
from hermes_agent.core.messages import (
    AssistantMessage,
    ImagePart,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from hermes_agent.store import open_store
from hermes_agent.store.chats import SqliteChats

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from command_line import CommandLine

TOKEN = "a-token-for-tests-0123456789abcdef"
KEY = "agent:main:telegram:dm:42"
TOOLS = {
    *("conversations_list", "conversation_get", "messages_read", "attachments_fetch", "events_poll"),
    *("events_wait", "messages_send", "channels_list", "permissions_list_open", "permissions_respond"),
}


@pytest.fixture
async def hermes(home: Home) -> CommandLine:
    """A home with a telegram chat and a conversation of the command line."""
    store = await open_store(home.state_db)
    chat = await store.create(source="telegram", title="Groceries")
    await store.append(
        chat.id,
        [
            UserMessage((TextPart("Buy milk"), ImagePart("image/png", data="aGVsbG8="))),
            AssistantMessage("", (ToolCall("c1", "todo", "{}"),), finish_reason="tool_calls"),
            ToolMessage("c1", "todo", "noted"),
            AssistantMessage("Milk is on the list."),
        ],
    )
    await SqliteChats(store).put_chat(
        KEY, "telegram", chat.id, {"chat_id": "42", "chat_name": "Ada", "chat_type": "dm"}
    )
    other = await store.create(source="cli", title="Wörk / 50 %")
    await store.append(other.id, [UserMessage.of("x" * 30_000), AssistantMessage("Long.")])
    await store.aclose()
    return CommandLine(home.root)


@asynccontextmanager
async def over_stdio(hermes: CommandLine, *arguments: str) -> AsyncIterator[Client]:
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "hermes_agent", "mcp", "serve", *arguments],
        env=hermes.environment(),
    )
    async with Client(stdio_client(parameters)) as client:
        yield client


@asynccontextmanager
async def http_server(hermes: CommandLine, *arguments: str) -> AsyncIterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hermes_agent", "mcp", "serve", "--http", "--port", str(port), *arguments),
        env=hermes.environment(HERMES_MCP_SERVER_TOKEN=TOKEN),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            await process.stderr.readline()
            while True:
                try:
                    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        await process.communicate()


@asynccontextmanager
async def over_http(hermes: CommandLine, *arguments: str) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(http_server(hermes, *arguments))
        http = await stack.enter_async_context(
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, verify=False)
        )
        yield await stack.enter_async_context(Client(streamable_http_client(url, http_client=http)))


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    found: dict[str, Any] = json.loads(result.content[0].text)
    return found


async def failure(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return str(result.content[0].text)


@pytest.mark.parametrize("way", [over_stdio, over_http])
async def test_conversations_are_listed_read_and_followed(
    hermes: CommandLine, way: Callable[..., Any]
) -> None:
    async with way(hermes) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS

        listed = await call(client, "conversations_list")
        assert listed["count"] == 2
        by_key = {each["session_key"]: each for each in listed["conversations"]}
        assert by_key[KEY]["title"] == "Groceries"
        assert by_key[KEY]["platform"] == "telegram"
        found = await call(client, "conversations_list", search="milk")
        assert [each["session_key"] for each in found["conversations"]] == [KEY]
        found = await call(client, "conversations_list", search="wörk /")
        assert [each["title"] for each in found["conversations"]] == ["Wörk / 50 %"]
        found = await call(client, "conversations_list", platform="cli", limit=1)
        assert [each["platform"] for each in found["conversations"]] == ["cli"]

        one = await call(client, "conversation_get", session_key=KEY)
        assert one["origin"]["chat_name"] == "Ada"
        assert one["message_count"] == 4

        read = await call(client, "messages_read", session_key=KEY)
        assert [(each["role"], each["content"]) for each in read["messages"]] == [
            ("user", "Buy milk"),
            ("assistant", "Milk is on the list."),
        ]
        newest = await call(client, "messages_read", session_key=KEY, limit=1)
        assert [each["role"] for each in newest["messages"]] == ["assistant"]
        pictures = await call(
            client, "attachments_fetch", session_key=KEY, message_id=read["messages"][0]["id"]
        )
        assert pictures["attachments"] == [{"type": "image", "media_type": "image/png", "data": "aGVsbG8="}]

        channels = await call(client, "channels_list")
        assert [each["target"] for each in channels["channels"]] == ["telegram:42"]
        assert (await call(client, "channels_list", platform="discord"))["count"] == 0

        events = await call(client, "events_poll", after_cursor=0, session_key=KEY, limit=2)
        assert [each["role"] for each in events["events"]] == ["user", "assistant"]
        rest = await call(client, "events_poll", after_cursor=events["next_cursor"], session_key=KEY)
        assert [each["role"] for each in rest["events"]] == ["tool", "assistant"]


@pytest.mark.parametrize("way", [over_stdio, over_http])
async def test_whoever_waits_is_told_what_another_process_stores(
    hermes: CommandLine, home: Home, way: Callable[..., Any]
) -> None:
    async with way(hermes) as client:
        start = await call(client, "events_poll")
        assert start["events"] == []
        quiet = await call(client, "events_wait", after_cursor=start["next_cursor"], timeout_ms=10)
        assert quiet["timed_out"]
        waiting = asyncio.create_task(
            call(client, "events_wait", after_cursor=start["next_cursor"], session_key=KEY, timeout_ms=20_000)
        )
        store = await open_store(home.state_db)
        chats = {chat.session_key: chat for chat in await SqliteChats(store).chats()}
        others = await store.list(source="cli")
        await store.append(others[0].id, [UserMessage.of("not for you")])
        await store.append(chats[KEY].session_id, [UserMessage.of("And eggs")])
        await store.aclose()

        found = await waiting

        assert [each["content"] for each in found["events"]] == ["And eggs"]
        assert found["events"][0]["session_key"] == KEY
        after = await call(client, "events_poll", after_cursor=found["next_cursor"])
        assert after["events"] == []


async def test_without_a_gateway_acting_is_refused_honestly(hermes: CommandLine) -> None:
    async with over_stdio(hermes) as client:
        for tool, arguments in (
            ("messages_send", {"target": KEY, "message": "Hi"}),
            ("permissions_list_open", {}),
            ("permissions_respond", {"id": "a1", "decision": "allow-once"}),
        ):
            said = await failure(client, tool, **arguments)
            assert "No gateway is running" in said
            assert "hermes gateway" in said


@pytest.mark.parametrize("way", [over_stdio, over_http])
async def test_sending_and_permissions_go_through_the_gateway(
    hermes: CommandLine, home: Home, way: Callable[..., Any]
) -> None:
    asked: list[dict[str, Any]] = []
    control = ControlSocket(home)

    async def send(request: Any) -> dict[str, Any]:
        asked.append(dict(request))
        return {"id": 7, "state": "sent", "message_ids": ["m1"], "error": ""}

    async def approvals(_request: Any) -> dict[str, Any]:
        return {"approvals": [{"id": "a1", "session_key": KEY, "tool": "terminal", "action": "rm x"}]}

    async def approve(request: Any) -> dict[str, Any]:
        asked.append(dict(request))
        if request["id"] != "a1":
            raise GatewayError("That question is not open")
        return {"action": "rm x"}

    control.register("send", send)
    control.register("approvals", approvals)
    control.register("approve", approve)
    await control.open()
    try:
        async with way(hermes) as client:
            sent = await call(client, "messages_send", target=KEY, message="Hello")
            assert (sent["success"], sent["state"], sent["message_ids"]) == (True, "sent", ["m1"])
            await call(client, "messages_send", target="telegram:-100:7", message="Hello")
            assert asked[0]["chat_id"] == "42"
            assert (asked[1]["chat_id"], asked[1]["thread_id"]) == ("-100", "7")
            assert asked[0]["key"] != asked[1]["key"]
            found = await call(client, "permissions_list_open")
            assert found["permissions"][0]["action"] == "rm x"
            await call(client, "permissions_respond", id="a1", decision="allow-always")
            assert asked[-1]["decision"] == "always"
            said = await failure(client, "permissions_respond", id="zz", decision="deny")
            assert "not open" in said
    finally:
        await control.aclose()


async def test_a_gateway_that_knows_no_permissions_is_no_mystery(hermes: CommandLine, home: Home) -> None:
    control = ControlSocket(home)
    await control.open()
    try:
        async with over_stdio(hermes) as client:
            assert "in the chat where" in await failure(client, "permissions_list_open")
    finally:
        await control.aclose()


async def test_nonsense_is_explained(hermes: CommandLine) -> None:
    async with over_stdio(hermes) as client:
        assert "There is no conversation 'nope'" in await failure(client, "messages_read", session_key="nope")
        assert "no target" in await failure(client, "messages_send", target="telegram", message="x")
        assert "empty" in await failure(client, "messages_send", target=KEY, message="  ")
        assert "no message id" in await failure(
            client, "attachments_fetch", session_key=KEY, message_id="../x"
        )
        assert "no message 999999" in await failure(
            client, "attachments_fetch", session_key=KEY, message_id=999999
        )
        await failure(client, "messages_read", session_key=KEY, limit=100_000)
        await failure(client, "permissions_respond", id="a", decision="allow-everything")
        long = await call(client, "conversations_list", platform="cli")
        read = await call(client, "messages_read", session_key=long["conversations"][0]["session_key"])
        assert len(read["messages"][0]["content"]) == 20_000
        assert read["messages"][0]["omitted_chars"] == 10_000


async def test_read_only_leaves_out_what_acts(hermes: CommandLine) -> None:
    async with over_stdio(hermes, "--read-only") as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
    assert names == TOOLS - {"messages_send", "permissions_respond"}


async def test_over_http_a_token_own_hosts_and_own_origins_are_needed(hermes: CommandLine) -> None:
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
        },
    }
    accept = {"Accept": "application/json, text/event-stream"}
    good = {"Authorization": f"Bearer {TOKEN}", **accept}

    async with http_server(hermes, "--allow-origin", "https://app.example.org") as url:
        async with httpx2.AsyncClient(verify=False) as client:

            async def status(**headers: str) -> int:
                given = {name.replace("_", "-"): value for name, value in headers.items()}
                return (await client.post(url, json=body, headers={**accept, **given})).status_code

            bearer = good["Authorization"]
            assert await status() == 401
            assert await status(Authorization="Bearer wrong") == 401
            assert await status(Authorization=f"Basic {TOKEN}") == 401
            assert await status(Authorization=f"Bearer {TOKEN[:-1]}") == 401
            assert await status(Authorization=bearer) == 200
            assert await status(Authorization=bearer, Host="evil.example.com") == 421
            assert await status(Authorization=bearer, Origin="https://evil.example.com") == 403
            assert await status(Authorization=bearer, Origin="https://app.example.org") == 200
            refused = await client.get(url.replace("/mcp", "/anything"))
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_over_http_a_weak_token_is_no_token(hermes: CommandLine) -> None:
    for token in ("", "short", "with space in it and long enough"):
        result = await asyncio.to_thread(
            hermes.run, "mcp", "serve", "--http", **({"HERMES_MCP_SERVER_TOKEN": token} if token else {})
        )
        assert result.returncode == 3
        assert "HERMES_MCP_SERVER_TOKEN" in result.stderr
        assert "Traceback" not in result.stderr
        assert not token or token not in result.stderr
