"""A small HTTP client for measuring servers: keeps its connections, notes when the first token came."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Timing:
    """One request, in milliseconds. `first_ms` is 0 if no token came."""

    total_ms: float
    first_ms: float
    status: int
    is_complete: bool


@dataclass
class Load:
    """Many requests."""

    timings: list[Timing] = field(default_factory=list)
    wall_seconds: float = 0.0

    @property
    def failures(self) -> int:
        return sum(timing.status != 200 or not timing.is_complete for timing in self.timings)

    @property
    def median_ms(self) -> float:
        return statistics.median(timing.total_ms for timing in self.timings)

    @property
    def first_ms(self) -> float:
        return statistics.median(timing.first_ms for timing in self.timings)

    @property
    def per_second(self) -> float:
        return len(self.timings) / self.wall_seconds


def body(model: str, text: str, *, history: int = 0, stream: bool = False) -> bytes:
    """A chat completion's body with so many earlier messages."""
    messages = [
        {"role": "assistant" if number % 2 else "user", "content": f"Message {number}: " + "some words " * 12}
        for number in range(history)
    ]
    messages.append({"role": "user", "content": text})
    return json.dumps({"model": model, "messages": messages, "stream": stream}).encode()


class Connection:
    """One connection to `POST {url}/v1/chat/completions`."""

    def __init__(self, url: str, key: str, **headers: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        lines = [f"authorization: Bearer {key}", "content-type: application/json", "host: bench"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._head = "POST /v1/chat/completions HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in lines)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, data: bytes) -> Timing:
        started = time.perf_counter()
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=1 << 24)
        reader, writer = self._streams
        writer.write(f"{self._head}content-length: {len(data)}\r\n\r\n".encode() + data)
        status = int((await reader.readline()).split()[1])
        length: int | None = None
        while (line := (await reader.readline()).lower()).strip():
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        first = 0.0
        if length is not None:
            answer = await reader.readexactly(length)
            is_complete = b'"content"' in answer
        else:
            is_complete = False
            while size := int(await reader.readline(), 16):
                piece = await reader.readexactly(size + 2)
                is_complete = is_complete or b"[DONE]" in piece
                if not first and b'"content":"' in piece.replace(b'"content":""', b"").replace(b": ", b":"):
                    first = time.perf_counter()
            await reader.readline()
        ended = time.perf_counter()
        return Timing(
            (ended - started) * 1000, (first - started) * 1000 if first else 0.0, status, is_complete
        )

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def run_load(
    url: str, key: str, bodies: list[bytes], *, concurrency: int = 1, warm_up: int = 3, **headers: Any
) -> Load:
    """Send all bodies, so many at a time."""
    load = Load()
    waiting = iter(bodies)

    async def work() -> None:
        connection = Connection(url, key, **headers)
        for data in waiting:
            load.timings.append(await connection.post(data))
        connection.close()

    warming = Connection(url, key, **headers)
    for data in bodies[:warm_up]:
        await warming.post(data)
    warming.close()
    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    load.wall_seconds = time.perf_counter() - started
    return load
