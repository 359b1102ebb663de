"""Requests that are cancelled at any moment cost the platforms' HTTP client no connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from hermes_agent.gateway.platforms.steady_client import SteadyClient


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server that answers every request, and reads slowly enough for requests to queue."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"http://{host}:{port}/"


async def cancel_at_every_moment(client: httpx.AsyncClient, url: str) -> None:
    """Eight requests at once for two connections; all are cancelled after a few turns of the loop."""
    for turns in range(30):
        requests = [asyncio.create_task(client.get(url)) for _ in range(8)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)


async def test_a_small_pool_survives_requests_cancelled_at_every_moment(url: str):
    limits = httpx.Limits(max_connections=2)
    async with SteadyClient(limits=limits, timeout=20, trust_env=False) as client:
        await cancel_at_every_moment(client, url)
        answers = await asyncio.gather(*(client.get(url) for _ in range(10)))
        assert [answer.text for answer in answers] == ["ok"] * 10


async def test_a_stream_that_nobody_waits_for_any_more_is_closed(url: str):
    limits = httpx.Limits(max_connections=1)
    async with SteadyClient(limits=limits, timeout=20, trust_env=False) as client:
        for turns in range(40):
            request = client.build_request("GET", url)
            sending = asyncio.create_task(client.send(request, stream=True))
            for _ in range(turns):
                await asyncio.sleep(0)
            sending.cancel()
            (outcome,) = await asyncio.gather(sending, return_exceptions=True)
            if isinstance(outcome, httpx.Response):
                await outcome.aclose()
        assert (await client.get(url)).text == "ok"


async def test_a_failed_request_raises_what_httpx_raises(url: str):
    async with SteadyClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:1/")
