"""Remote servers that refuse, forget and cut: credentials, sessions, streams, redirects."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from mcp_bench import SERVERS, Bench, data

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.mcp.errors import McpAuthError, McpRequestError, McpUnavailableError

sys.path.insert(0, str(SERVERS))
from refusing_server import RefusingServer


@dataclass
class Running:
    """A server and its address."""

    state: RefusingServer
    url: str

    @property
    def sse(self) -> str:
        return self.url.removesuffix("/mcp") + "/sse"


@pytest.fixture
async def refusing() -> AsyncIterator[Running]:
    state = RefusingServer()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(state.application(), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    yield Running(state, f"http://127.0.0.1:{listener.getsockname()[1]}/mcp")
    for stream in state.streams:
        stream.put_nowait(None)
    server.should_exit = True
    server.force_exit = True
    await serving
    listener.close()


class Bearer(httpx2.Auth):
    def __init__(self, token: str) -> None:
        self.token = token

    def auth_flow(self, request: httpx2.Request) -> Any:
        request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


@dataclass
class Tokens:
    """A `ServerAuth` with a row of tokens; an empty row means that a person is needed."""

    row: list[str]
    failures: list[tuple[int, str]] = field(default_factory=list)

    def http_auth(self) -> object | None:
        return Bearer(self.row[0])

    async def auth_failed(self, status: int, challenge: str) -> bool:
        self.failures.append((status, challenge))
        await asyncio.sleep(0.05)
        if len(self.row) > 1:
            self.row.pop(0)
            return True
        raise McpAuthError("s", "the token cannot be renewed")


def auth(tokens: Tokens) -> dict[str, Any]:
    return {"make_auth": lambda _name, _settings: tokens}


async def test_a_refused_token_is_renewed_once_however_many_calls_wait(
    bench: Bench, refusing: Running
) -> None:
    refusing.state.token = "old"
    tokens = Tokens(["old", "new", "newer"])
    manager = bench.manager(ports=auth(tokens), s=McpServerSettings(url=refusing.url))
    assert (await bench.call(manager, "mcp_s_echo", text="one")).text == "one"
    refusing.state.token = "new"
    results = await asyncio.gather(
        *(bench.call(manager, "mcp_s_echo", text=str(number)) for number in range(10))
    )
    assert [result.text for result in results] == [str(number) for number in range(10)]
    assert len(tokens.failures) == 1
    assert tokens.failures[0] == (401, 'Bearer error="invalid_token"')
    assert sorted(refusing.state.calls) == sorted(["one", *map(str, range(10))])


async def test_a_login_that_is_needed_is_told_as_json_and_shown(bench: Bench, refusing: Running) -> None:
    refusing.state.token = "old"
    manager = bench.manager(ports=auth(Tokens(["old"])), s=McpServerSettings(url=refusing.url))
    await bench.call(manager, "mcp_s_echo", text="one")
    refusing.state.token = "other"
    result = await bench.call(manager, "mcp_s_echo", text="two")
    assert result.is_error
    said = data(result)
    assert (said["needs_reauth"], said["server"]) == (True, "s")
    assert "hermes mcp login s" in said["error"]
    (status,) = manager.statuses()
    assert status.state == "needs_reauth"
    assert "needs a login" in status.line


async def test_a_rotated_static_header_is_read_again(bench: Bench, refusing: Running) -> None:
    refusing.state.token = "old"
    current = {"token": "old"}

    def refresh(_name: str, settings: McpServerSettings) -> McpServerSettings:
        return settings.model_copy(update={"headers": {"Authorization": f"Bearer {current['token']}"}})

    settings = McpServerSettings(url=refusing.url, headers={"Authorization": "Bearer old"})
    manager = bench.manager(ports={"refresh": refresh}, s=settings)
    assert (await bench.call(manager, "mcp_s_echo", text="one")).text == "one"
    refusing.state.token = current["token"] = "new"
    assert (await bench.call(manager, "mcp_s_echo", text="two")).text == "two"


async def test_a_wrong_static_header_wants_a_person(bench: Bench, refusing: Running) -> None:
    refusing.state.token = "right"
    settings = McpServerSettings(url=refusing.url, headers={"Authorization": "Bearer wrong"})
    manager = bench.manager(s=settings)
    await manager.discovered()
    (status,) = manager.statuses()
    assert status.state == "needs_reauth"
    with pytest.raises(McpAuthError):
        await manager.connection("s").client()


async def test_a_forgotten_session_is_begun_again_and_the_call_repeated(
    bench: Bench, refusing: Running
) -> None:
    manager = bench.manager(s=McpServerSettings(url=refusing.url))
    assert (await bench.call(manager, "mcp_s_echo", text="one")).text == "one"
    refusing.state.sessions.clear()
    assert (await bench.call(manager, "mcp_s_echo", text="two")).text == "two"
    assert refusing.state.calls == ["one", "two"]


async def test_a_cut_stream_is_resumed_where_it_ended(bench: Bench, refusing: Running) -> None:
    refusing.state.is_cutting = True
    manager = bench.manager(s=McpServerSettings(url=refusing.url))
    assert (await bench.call(manager, "mcp_s_echo", text="long")).text == "long"
    assert refusing.state.resumed == ["1"]
    assert refusing.state.calls == ["long"]


async def test_a_redirect_to_another_host_gets_no_credential(
    bench: Bench, refusing: Running, tmp_path: Path
) -> None:
    other = RefusingServer()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(other.application(), log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve([listener]))
    refusing.state.redirect = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    settings = McpServerSettings(
        url=refusing.url, headers={"Authorization": "Bearer secret"}, transport="http"
    )
    manager = bench.manager(s=settings)
    with pytest.raises(Exception, match="not followed"):
        await manager.connection("s").client()
    assert other.seen_headers == []
    server.should_exit = True
    await serving
    listener.close()


async def test_tls_files_that_are_missing_are_named(bench: Bench) -> None:
    settings = McpServerSettings(url="https://127.0.0.1:9/mcp", client_cert="/no/such/file.pem")
    manager = bench.manager(s=settings)
    with pytest.raises(McpUnavailableError, match="TLS settings cannot be used"):
        await manager.connection("s").client()


# -- the older SSE transport


async def test_a_token_refused_in_the_middle_of_an_sse_session_is_renewed(
    bench: Bench, refusing: Running
) -> None:
    refusing.state.token = "old"
    tokens = Tokens(["old", "new"])
    manager = bench.manager(ports=auth(tokens), s=McpServerSettings(url=refusing.sse))
    assert (await bench.call(manager, "mcp_s_echo", text="one")).text == "one"
    refusing.state.token = "new"
    assert (await bench.call(manager, "mcp_s_echo", text="two")).text == "two"
    assert tokens.failures == [(401, 'Bearer error="invalid_token"')]
    assert refusing.state.calls == ["one", "two"]


@pytest.mark.parametrize(
    ("status", "problem"), [(500, r"error response \(HTTP 500\)"), (413, r"error response \(HTTP 413\)")]
)
async def test_a_refused_message_is_an_error_at_once_and_the_session_goes_on(
    bench: Bench, refusing: Running, status: int, problem: str
) -> None:
    manager = bench.manager(s=McpServerSettings(url=refusing.sse))
    await bench.call(manager, "mcp_s_echo", text="one")
    refusing.state.status = status
    with pytest.raises(McpRequestError, match=problem):
        await bench.call(manager, "mcp_s_echo", text="two")
    assert (await bench.call(manager, "mcp_s_echo", text="three")).text == "three"
    assert len(refusing.state.streams) == 1


async def test_an_sse_session_that_the_server_forgot_is_begun_again(bench: Bench, refusing: Running) -> None:
    manager = bench.manager(s=McpServerSettings(url=refusing.sse, timeout=5))
    await bench.call(manager, "mcp_s_echo", text="one")
    refusing.state.status = 404
    assert (await bench.call(manager, "mcp_s_echo", text="two")).text == "two"
    assert len(refusing.state.streams) == 2


async def test_an_sse_stream_that_ends_is_opened_again_for_the_next_call(
    bench: Bench, refusing: Running
) -> None:
    manager = bench.manager(s=McpServerSettings(url=refusing.sse))
    await bench.call(manager, "mcp_s_echo", text="one")
    client = await manager.connection("s").client()
    refusing.state.streams[-1].put_nowait(None)
    await client.ended.wait()
    assert (await bench.call(manager, "mcp_s_echo", text="two")).text == "two"
    assert len(refusing.state.streams) == 2


async def test_garbage_in_the_stream_of_events_does_no_harm(bench: Bench, refusing: Running) -> None:
    refusing.state.noise = (
        ": ping\n\nevent: message\ndata: no json\n\nevent: message\ndata:\n\n"
        "event: strange\ndata: {}\n\nevent: endpoint\ndata: http://203.0.113.1/\n\n"
    )
    manager = bench.manager(s=McpServerSettings(url=refusing.sse))
    assert (await bench.call(manager, "mcp_s_echo", text="one")).text == "one"


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9/messages", "https://127.0.0.1/x", "//evil.example/x"]
)
async def test_messages_go_to_no_other_origin_than_the_stream(
    bench: Bench, refusing: Running, endpoint: str
) -> None:
    refusing.state.endpoint = endpoint
    settings = McpServerSettings(url=refusing.sse, headers={"Authorization": "Bearer s"}, transport="sse")
    manager = bench.manager(s=settings)
    with pytest.raises(McpUnavailableError, match="another origin"):
        await manager.connection("s").client()


async def test_an_sse_stream_is_not_followed_to_another_origin(bench: Bench, refusing: Running) -> None:
    settings = McpServerSettings(url=refusing.sse, headers={"Authorization": "Bearer s"}, transport="sse")
    for target in ("http://127.0.0.1:9/sse", "http://localhost:9/sse", refusing.sse):
        refusing.state.redirect = target
        refusing.state.seen_headers.clear()
        manager = bench.manager(s=settings)
        with pytest.raises(McpUnavailableError, match="HTTP 307"):
            await manager.connection("s").client()
        # The last one leads to itself: that is not followed for ever either.
        assert len(refusing.state.seen_headers) == (5 if target == refusing.sse else 1)
        await manager.aclose()


async def test_a_stream_that_names_no_address_is_a_clear_error(bench: Bench, refusing: Running) -> None:
    refusing.state.endpoint, refusing.state.noise = "", "\n\n"
    manager = bench.manager(s=McpServerSettings(url=refusing.sse, transport="sse", connect_timeout=1))
    await manager.discovered()
    (status,) = manager.statuses()
    assert status.state == "failed"
