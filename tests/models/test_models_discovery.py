"""Looking for model servers on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_agent.models.catalogue import PROVIDERS
from hermes_agent.models.discovery import USUAL_PORTS, LocalServer, _understand, discover
from hermes_agent.models.scripted.server import ScriptedServer

Answers = dict[str, object]
Serve = Callable[..., Awaitable[int]]

OLLAMA: Answers = {
    "/v1/models": {"object": "list", "data": [{"id": "qwen3:8b", "object": "model", "owned_by": "library"}]},
    "/api/tags": {"models": [{"name": "qwen3:8b", "model": "qwen3:8b", "size": 1}, {"name": "gemma3:4b"}]},
}
STUDIO: Answers = {
    "/v1/models": {
        "object": "list",
        "data": [{"id": "qwen3-8b", "object": "model", "owned_by": "organization_owner"}],
    },
    "/api/v0/models": {
        "object": "list",
        "data": [
            {
                "id": "qwen3-8b",
                "type": "llm",
                "arch": "qwen3",
                "state": "not-loaded",
                "max_context_length": 32768,
            },
            {"id": "nomic-embed", "type": "embeddings", "arch": "nomic", "state": "not-loaded"},
        ],
    },
}
LLAMACPP: Answers = {
    "/v1/models": {
        "models": [{"name": "ignored"}],
        "object": "list",
        "data": [
            {"id": "m.gguf", "object": "model", "owned_by": "llamacpp", "meta": {"n_ctx_train": 131072}}
        ],
    },
    "/props": {"default_generation_settings": {"n_ctx": 8192}},
}
VLLM: Answers = {
    "/v1/models": {
        "object": "list",
        "data": [{"id": "meta/llama", "object": "model", "owned_by": "vllm", "max_model_len": 40960}],
    },
}


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(head).encode() + body


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves answers by path on a free port; bytes are sent as they are, None never answers."""
    async with AsyncExitStack() as stack:
        ending = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        async def start(answers: Answers, *, keep_open: bool = False) -> int:
            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tasks.add(asyncio.current_task())  # type: ignore[arg-type]
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                    reply = answers.get(
                        head.split()[1].decode(), answers.get("*", http(b"no", status="404 Not Found"))
                    )
                    if isinstance(reply, dict):
                        body = json.dumps(reply).encode()
                        reply = http(body, f"Content-Length: {len(body)}")
                    if reply is None or keep_open:
                        writer.write(reply or b"")
                        await ending.wait()
                    else:
                        writer.write(reply)
                        await writer.drain()
                except (ConnectionError, asyncio.IncompleteReadError):
                    pass
                finally:
                    writer.close()

            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            return int(server.sockets[0].getsockname()[1])

        yield start
        ending.set()
        await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("answers", "kind", "models", "windows"),
    [
        (OLLAMA, "ollama", ("qwen3:8b", "gemma3:4b"), {}),
        (STUDIO, "lmstudio", ("qwen3-8b",), {"qwen3-8b": 32768}),
        (LLAMACPP, "llamacpp", ("m.gguf",), {"m.gguf": 8192}),
        (VLLM, "vllm", ("meta/llama",), {"meta/llama": 40960}),
    ],
)
async def test_a_product_is_recognised_with_its_models_and_context_windows(
    answers: Answers, kind: str, models: tuple[str, ...], windows: dict[str, int], serve: Serve
) -> None:
    port = await serve(answers)
    (found,) = await discover([port], timeout_seconds=5)
    assert found == LocalServer(kind, f"http://127.0.0.1:{port}/v1", models, windows)  # type: ignore[arg-type]


async def test_servers_that_keep_the_connection_open_are_understood_all_the_same(serve: Serve) -> None:
    port = await serve(VLLM, keep_open=True)
    (found,) = await discover([port], timeout_seconds=5)
    assert found.models == ("meta/llama",)


async def test_chunked_answers_are_understood(serve: Serve) -> None:
    body = json.dumps(VLLM["/v1/models"]).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    port = await serve({"/v1/models": http(chunked, "Transfer-Encoding: chunked")})
    (found,) = await discover([port], timeout_seconds=5)
    assert found.kind == "vllm"


async def test_an_ollama_without_models_is_given_only_on_request(serve: Serve) -> None:
    port = await serve({"/v1/models": {"object": "list", "data": None}, "/api/tags": {"models": []}})
    assert await discover([port], timeout_seconds=5) == ()
    (found,) = await discover([port], timeout_seconds=5, include_empty=True)
    assert (found.kind, found.models) == ("ollama", ())


async def test_an_unknown_server_with_a_model_list_is_offered_without_a_product_name(serve: Serve) -> None:
    with ScriptedServer(["hi"]) as server:
        (found,) = await discover([server.port], timeout_seconds=5)
    assert (found.kind, found.name) == ("openai-compatible", "OpenAI-compatible server")
    assert found.models == ("scripted",)
    assert found.context_windows == {"scripted": 128_000}


@pytest.mark.parametrize(
    "reply",
    [
        http(b"<html>It works!</html>"),
        http(b"{}"),
        http(b"[]"),
        http(b"null"),
        http(b'{"data": []}'),
        http(b'{"data": [1, 2]}'),
        http(b'{"data": {"id": "x"}}'),
        http(b'{"data": [{"title": "a blog post"}]}'),
        http(b'{"object": "list", "data": [{"id": 7}, {"id": "\\u0000"}, {"id": ""}]}'),
        http(b"[" * 100_000),
        http(b'{"data"', "Content-Length: 999999"),
        http(b"{}", status="302 Found"),
        http(b"{}", status="500 Oops"),
        http(b"\xff\xfe\x00", "Content-Length: 3"),
        http(b'{"object": "list", "data": [{"id": "x"}]}' + b" " * 2_000_000),
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
        b"\x00" * 100,
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
    ],
)
async def test_whatever_is_no_model_server_is_not_offered(reply: bytes, serve: Serve) -> None:
    port = await serve({"*": reply})
    assert await discover([port], timeout_seconds=0.5, include_empty=True) == ()


async def test_silence_and_closed_ports_do_not_hold_the_search_up(serve: Serve) -> None:
    silent = await serve({"*": None})
    good = await serve(VLLM)
    async with asyncio.timeout(30):
        found = await discover([silent, 1, good, silent, good], timeout_seconds=0.4)
    assert [server.kind for server in found] == ["vllm"]


async def test_a_slow_detail_does_not_lose_the_server(serve: Serve) -> None:
    port = await serve({**LLAMACPP, "/props": None})
    (found,) = await discover([port], timeout_seconds=0.4)
    assert (found.kind, found.context_windows) == ("llamacpp", {})


async def test_an_endless_body_is_not_read_to_its_end(serve: Serve) -> None:
    port = await serve({"*": http(b'{"data": "' + b"x" * 5_000_000)})
    assert await discover([port], timeout_seconds=2) == ()


def test_servers_on_usual_ports_belong_to_the_provider_with_that_address() -> None:
    local = {provider.base_url: provider.id for provider in PROVIDERS if provider.is_local}
    assert set(local) == {f"http://127.0.0.1:{port}/v1" for port in USUAL_PORTS}
    for address, name in local.items():
        assert LocalServer("openai-compatible", address).provider == name
    assert LocalServer("ollama", "http://127.0.0.1:9999/v1").provider == "custom"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_whatever_make_it_fail(raw: bytes, with_head: bool) -> None:
    reply = _understand(http(raw) if with_head else raw)
    assert reply is None or isinstance(reply.value, dict)
