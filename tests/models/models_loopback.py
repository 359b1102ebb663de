"""A loopback HTTP server that answers with exactly the bytes a test gives it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from hermes_agent.core.model import (
    Model,
    ModelEvent,
    ModelInfo,
    ModelReply,
    ModelRequest,
    ReasoningChunk,
    TextChunk,
    ToolDefinition,
)
from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.profiles import profile_for


@dataclass
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = bytes | Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Loopback:
    """Answers in order; the last answer is repeated."""

    port: int
    requests: list[Received] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def reply(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests.clear()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                request = await _read(reader)
                self.requests.append(request)
                answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
                if callable(answer):
                    await answer(request, writer)
                else:
                    writer.write(answer)
                    await writer.drain()
                    if b"connection: close" in answer.partition(b"\r\n\r\n")[0].lower():
                        break
                if writer.is_closing():
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test has ended
        finally:
            self.closed.set()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


@contextlib.asynccontextmanager
async def loopback(*answers: Answer) -> AsyncIterator[Loopback]:
    server_state = Loopback(0, answers=list(answers))
    server = await asyncio.start_server(server_state.handle, "127.0.0.1", 0)
    server_state.port = server.sockets[0].getsockname()[1]
    try:
        yield server_state
    finally:
        server.close()


def http(body: bytes, *, status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    """A response with a content length."""
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def event_bytes(event: object) -> bytes:
    """One event."""
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def sse(*events: object, done: bool = True, close: bool = False) -> bytes:
    """An event stream; dicts are written as JSON, bytes as they are."""
    data = b"".join(
        event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in events
    )
    if done:
        data += b"data: [DONE]\n\n"
    if close:  # no length: the end of the connection is the end of the body
        return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + data
    return http(data, kind="text/event-stream")


def delta(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chat completion chunk."""
    body = {**({"content": content} if content is not None else {}), **more}
    return {"id": "c", "choices": [{"index": 0, "delta": body, "finish_reason": finish}]}


def call(
    index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: Any = None
) -> Any:
    """A chat completion chunk with a piece of a tool call."""
    piece: dict[str, Any] = {"function": {}}
    if index is not None:
        piece["index"] = index
    if call_id is not None:
        piece |= {"id": call_id, "type": "function"}
    if name is not None:
        piece["function"]["name"] = name
    if arguments is not None:
        piece["function"]["arguments"] = arguments
    return delta(tool_calls=[piece])


def endpoint(
    url: str, *, model: str = "m", provider: str = "custom", dialect: str = "chat_completions", **more: Any
) -> Endpoint:
    """An endpoint at a loopback address, with short time-outs."""
    profile = more.pop("profile", None) or profile_for(provider, url, model)
    info = ModelInfo(provider, model, dialect, url, supports_images=more.pop("supports_images", False))
    return Endpoint(
        info, profile, **{"stale_timeout_seconds": 5.0, "first_byte_timeout_seconds": 5.0, **more}
    )


TOOL = ToolDefinition(
    "read_file",
    "Read a file.",
    {
        "type": "object",
        "required": ["path"],
        "properties": {"limit": {"type": "integer"}, "path": {"type": "string"}},
    },
)


@dataclass
class Collected:
    """Everything one request gave."""

    events: list[ModelEvent]

    @property
    def reply(self) -> ModelReply:
        last = self.events[-1]
        assert isinstance(last, ModelReply)
        return last

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextChunk))

    @property
    def reasoning(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, ReasoningChunk))

    @property
    def calls(self) -> list[tuple[str, str]]:
        return [(each.name, each.arguments) for each in self.reply.message.tool_calls]


async def ask(model: Model, request: ModelRequest) -> Collected:
    """All events of one request."""
    return Collected([event async for event in model.stream(request)])


def dump(items: Iterable[bytes]) -> list[Any]:
    return [json.loads(item) for item in items]
