#!/usr/bin/env python3
"""Measure our own CPU time per tool round and per streamed token, against an instant loopback server.

    python scripts/bench_models.py [--rounds 30] [--tokens 5000] [--json]

The server runs in a process of its own, so that only the client's time counts. `bare` is the same
exchange through the same HTTP client without anything of ours, to compare with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from hermes_agent.core.loading import load
from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.model import ModelInfo, ModelReply, ModelRequest, ToolDefinition
from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.resolve import DIALECTS

TOOLS = [
    ToolDefinition(
        f"tool_{number}",
        "Does something useful with a file. " * 8,
        {
            "type": "object",
            "properties": {
                name: {"type": "string", "description": "A value. " * 6} for name in ("path", "text", "mode")
            },
            "required": ["path"],
        },
    )
    for number in range(20)
]
SYSTEM = "You are a careful assistant. " * 200


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = b"data: " + json.dumps({**chunk, "choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


async def serve() -> None:
    """One tool call, or (`tokens-N-B`) N tokens, B to a write."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    done = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    number = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        try:
            while True:
                header = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in header.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                body = await reader.readexactly(length)
                name = body[: body.index(b",")].decode().split('"')[3]
                writer.write(head)
                number += 1
                if name.startswith("tokens"):
                    _, count, batch = name.split("-")
                    piece = event({"content": "token "})
                    for _ in range(int(count) // int(batch)):
                        writer.write(piece * int(batch))
                        await writer.drain()
                        if int(batch) == 1:
                            await asyncio.sleep(0)
                    writer.write(event({}, "stop") + done)
                else:
                    function = {"name": "tool_1", "arguments": '{"path":"/tmp/x"}'}
                    call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
                    writer.write(event({"tool_calls": [call]}) + event({}, "tool_calls") + done)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 26)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def endpoint(port: int, model: str) -> Endpoint:
    return Endpoint(ModelInfo("custom", model, "chat_completions", f"http://127.0.0.1:{port}/v1"))


def history(count: int) -> list[Message]:
    messages: list[Message] = [UserMessage.of("Please look at all of these files.")]
    while len(messages) < count:
        call = ToolCall(f"old_{len(messages)}", "tool_1", '{"path":"/tmp/file"}')
        messages += [AssistantMessage("", (call,)), ToolMessage(call.id, "tool_1", "a line of text\n" * 40)]
    return messages


async def collect(stream: AsyncIterator[Any]) -> ModelReply:
    last = None
    async for each in stream:
        last = each
    assert isinstance(last, ModelReply)
    return last


async def measure_rounds(port: int, prior: int, rounds: int) -> float:
    """Milliseconds of CPU per tool round."""
    model = load(DIALECTS["chat_completions"])(endpoint(port, "tools"), "key")
    messages = history(prior)
    used = 0.0
    for number in range(rounds + 3):
        started = time.process_time()
        reply = await collect(model.stream(ModelRequest(SYSTEM, messages, TOOLS, session_id="bench")))
        if number >= 3:
            used += time.process_time() - started
        (call,) = reply.message.tool_calls
        messages += [reply.message, ToolMessage(call.id, call.name, "a line of text\n" * 40)]
    await model.aclose()
    return used / rounds * 1000


async def measure_tokens(port: int, tokens: int, batch: int) -> float:
    """Microseconds of CPU per streamed token."""
    model = load(DIALECTS["chat_completions"])(endpoint(port, f"tokens-{tokens}-{batch}"), "key")
    request = ModelRequest(SYSTEM, [UserMessage.of("Go")], TOOLS, session_id="bench")
    await collect(model.stream(request))
    started = time.process_time()
    await collect(model.stream(request))
    used = time.process_time() - started
    await model.aclose()
    return used / tokens * 1e6


async def measure_bare(port: int, body_bytes: int, rounds: int) -> float:
    """Milliseconds of CPU for the same exchange through the bare HTTP client."""
    import httpx2

    body = b'{"model":"tools","x":"' + b"x" * body_bytes + b'"}'
    async with httpx2.AsyncClient() as client:
        for number in range(rounds + 3):
            if number == 3:
                started = time.process_time()
            async with client.stream(
                "POST", f"http://127.0.0.1:{port}/v1/chat/completions", content=body
            ) as response:
                async for _ in response.aiter_bytes():
                    pass
        return (time.process_time() - started) / rounds * 1000


async def measure(port: int, rounds: int, tokens: int) -> dict[str, float]:
    results = {
        f"round_ms_after_{prior}": await measure_rounds(port, prior, rounds) for prior in (10, 100, 1000)
    }
    results["bare_round_ms_10_kB"] = await measure_bare(port, 10_000, rounds)
    results["bare_round_ms_1_MB"] = await measure_bare(port, 1_000_000, rounds)
    for batch in (1, 8, 64):
        results[f"token_us_{batch}_per_write"] = await measure_tokens(port, tokens, batch)
    return {name: round(value, 3) for name, value in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=4800)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline())
            results = asyncio.run(measure(port, options.rounds, options.tokens))
        finally:
            server.terminate()
    if options.json:
        print(json.dumps(results))
        return
    for name, value in results.items():
        print(f"{name:28} {value:10.3f}")


if __name__ == "__main__":
    main()
