"""The HTTP listener that strangers reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from hermes_agent.core.errors import NotReadyError, SettingError
from hermes_agent.gateway.platforms.listener import Answer, Listener, Request


@asynccontextmanager
async def listening(answer: Any = None, **options: Any) -> AsyncIterator[Listener]:
    async def echo(request: Request) -> Answer:
        return Answer(200, {"path": request.path, "query": request.query, "length": len(request.body)})

    listener = Listener("127.0.0.1", 0, answer or echo, name="test", **options)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def connect(listener: Listener, *pieces: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(listener.address.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
    await writer.drain()
    return reader, writer


async def rest_of(listener: Listener, *pieces: bytes) -> bytes:
    """What comes until the listener closes the connection."""
    reader, writer = await connect(listener, *pieces)
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


async def test_requests_are_answered_in_json() -> None:
    async with listening() as listener, httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(f"{listener.address}/a/b?c=d", content=b"xyz")
        assert response.json() == {"path": "/a/b", "query": "c=d", "length": 3}
        assert response.headers["x-content-type-options"] == "nosniff"
        assert (await client.head(listener.address)).content == b""


async def test_whoever_dawdles_is_cut_off() -> None:
    async with listening(header_seconds=0.2, body_seconds=0.2) as listener:
        assert await rest_of(listener) == b""
        assert await rest_of(listener, b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ") == b""
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        assert b"408" in await rest_of(listener, head, b"abc")
        again = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\nGET /y HTTP"
        assert (await rest_of(listener, again)).count(b"HTTP/1.1 200") == 1


async def test_garbage_and_huge_headers_are_refused() -> None:
    async with listening() as listener:
        assert b"400" in await rest_of(listener, b"\x16\x03\x01 hello\r\n\r\n")
        huge = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000
        assert b"400" in await rest_of(listener, huge)
        both = (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert b"HTTP/1.1" in await rest_of(listener, both, b"", b"\r\n\r\nnothing more\r\n\r\n")


async def test_too_many_connections_do_not_take_the_process_down() -> None:
    async with listening() as listener:
        writers = [(await connect(listener))[1] for _ in range(300)]
        for writer in writers:
            writer.close()
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
            while True:  # closed connections leave one after the other
                try:
                    assert (await client.get(listener.address)).status_code == 200
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0)


async def test_an_answer_that_fails_is_500_and_the_next_one_works() -> None:
    async def fail(request: Request) -> Answer:
        if request.path == "/bad":
            raise ValueError("broken")
        return Answer(200, {})

    async with listening(fail) as listener, httpx.AsyncClient(trust_env=False) as client:
        bad = await client.get(f"{listener.address}/bad")
        assert (bad.status_code, "broken" in bad.text) == (500, False)
        assert (await client.get(f"{listener.address}/")).status_code == 200


async def test_a_stop_lets_what_is_being_answered_end() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Answer:
        began.set()
        await go_on.wait()
        return Answer(200, {"done": True})

    async with listening(slow) as listener, httpx.AsyncClient(trust_env=False) as client:
        asking = asyncio.create_task(client.get(listener.address))
        await began.wait()
        stopping = asyncio.create_task(listener.stop())
        await asyncio.sleep(0)
        go_on.set()
        assert (await asking).json() == {"done": True}
        await stopping
        assert not listener.is_alive


async def test_an_address_that_cannot_be_taken_says_why() -> None:
    async def never(_request: Request) -> Answer:
        raise AssertionError

    async with listening() as listener:
        port = int(listener.address.rsplit(":", 1)[1])
        with pytest.raises(NotReadyError, match="is taken"):
            await Listener("127.0.0.1", port, never, name="test").start()
    with pytest.raises(SettingError, match="cannot listen"):
        await Listener("203.0.113.7", 0, never, name="test").start()
    with pytest.raises(SettingError, match="cannot listen"):
        await Listener("no such host.", 0, never, name="test").start()
