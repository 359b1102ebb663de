"""The chat completions dialect against raw bytes."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from models_loopback import TOOL, Collected, Received, ask, call, delta, endpoint, http, loopback, sse

from hermes_agent.core.errors import (
    ContextOverflowError,
    ModelAuthError,
    ModelConnectionError,
    ModelError,
    ModelNotFoundError,
    ModelQuotaError,
    ModelRateLimitError,
    ModelRequestError,
    ModelResponseError,
    ModelServerError,
    ModelTimeoutError,
    ProviderSetupError,
    StreamCutError,
)
from hermes_agent.core.messages import (
    AssistantMessage,
    ImagePart,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from hermes_agent.core.model import ModelRequest, ToolCallChunk
from hermes_agent.models.chat_completions import ChatCompletionsModel
from hermes_agent.models.profiles import Profile

HI = ModelRequest("Be brief.", [UserMessage.of("hi")], [TOOL], session_id="s1")


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]},
    {"type": "text", "text": "so"},
]


async def answer(*events: object, request: ModelRequest = HI, **options: Any) -> Collected:
    """What the dialect makes of an event stream."""
    profile = options.pop("profile", Profile())
    async with loopback(sse(*events, **options)) as server:
        model = ChatCompletionsModel(endpoint(server.url, profile=profile), "sk-secret-key-123")
        try:
            return await ask(model, request)
        finally:
            await model.aclose()


async def failure(raw: bytes, key: str = "sk-secret-key-123", **options: Any) -> ModelError:
    """The error the dialect raises for a raw response."""
    async with loopback(raw) as server:
        model = ChatCompletionsModel(endpoint(server.url, **options), key)
        try:
            with pytest.raises(ModelError) as caught:
                await ask(model, HI)
            return caught.value
        finally:
            await model.aclose()


async def test_an_answer_is_streamed_and_put_together() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    got = await answer(
        delta("", role="assistant"),
        delta("Hel"),
        delta("lo"),
        delta(finish="stop"),
        {"choices": [], "usage": usage},
    )
    assert got.text == got.reply.message.text == "Hello"
    assert got.reply.message.finish_reason == "stop"
    assert (got.reply.usage.input_tokens, got.reply.usage.cache_read_tokens, got.reply.usage.requests) == (
        9,
        4,
        1,
    )


async def test_the_request_says_what_was_asked_and_nothing_about_this_machine() -> None:
    async with loopback(sse(delta("ok", "stop"))) as server:
        model = ChatCompletionsModel(endpoint(server.url, headers={"X-Own": "1"}), "key-1")
        await ask(model, HI)
        await model.aclose()
        (request,) = server.requests
        assert request.path == "/v1/chat/completions"
        assert request.headers["authorization"] == "Bearer key-1"
        assert request.headers["x-own"] == "1"
        assert not [name for name in request.headers if name.startswith(("x-stainless", "openai-"))]
        assert request.json["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ]
        assert request.json["tools"][0]["function"]["name"] == "read_file"
        assert request.json["stream"] is True


async def test_variables_meant_for_the_sdk_reach_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "leak-me")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Leak: leak-me")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    async with loopback(sse(delta("ok", "stop"))) as server:
        model = ChatCompletionsModel(endpoint(server.url), "")
        await ask(model, HI)
        await model.aclose()
        assert "leak-me" not in " ".join(server.requests[0].headers.values())
        assert "authorization" not in server.requests[0].headers


async def test_one_connection_serves_many_requests() -> None:
    async with loopback(sse(delta("ok", "stop"))) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        for _ in range(5):
            await ask(model, HI)
        await model.aclose()
        assert (len(server.requests), server.connections) == (5, 1)


@pytest.mark.parametrize(
    "pieces",
    [
        [call(0, "a", "read_file", ""), call(0, arguments='{"pa'), call(0, arguments='th": "x"}')],
        [call(None, "a", "read_file", '{"pa'), call(None, None, None, 'th": "x"}')],
        [call(0, "a", "read_file", '{"pa'), call(0, "a", "read_file", 'th": "x"}')],
        [call(None, "a", "read_file", '{"pa'), call(None, "a", "", 'th": "x"}')],
        [call(0, None, "read_file", '{"path": "x"}')],
        [call(None, None, "read_file", '{"pa'), call(None, None, "read_file", 'th": "x"}')],
        [call(0, "a", "read_file", '{"pa'), call(0, "", "", 'th": "x"}'), call(0, "", None, "")],
        [call(0, "a", "read", None), call(0, None, "_file", None), call(0, None, None, '{"path": "x"}')],
        [
            delta(function_call={"name": "read_file", "arguments": '{"path"'}),
            delta(function_call={"arguments": ': "x"}'}),
        ],
    ],
)
async def test_tool_calls_come_together_however_a_server_cuts_them(pieces: list[Any]) -> None:
    got = await answer(*pieces, delta(finish="tool_calls"))
    ((name, arguments),) = got.calls
    assert (name, json.loads(arguments)) == ("read_file", {"path": "x"})
    assert got.reply.message.tool_calls[0].id
    assert got.reply.message.finish_reason == "tool_calls"
    assert any(isinstance(event, ToolCallChunk) and event.name == "read_file" for event in got.events)


@pytest.mark.parametrize(
    "pieces",
    [
        [call(0, "a", "f", '{"n":1}'), call(1, "b", "f", '{"n":2}')],
        [call(0, "a", "f", '{"n":1}'), call(0, "b", "f", '{"n":2}')],
        [call(None, "a", "f", '{"n":1}'), call(None, "b", "f", '{"n":2}')],
        [call(None, None, "f", '{"n":1}'), call(None, None, "f", '{"n":2}')],
        [
            call(0, "a", "f", '{"n"'),
            call(1, "b", "f", '{"n"'),
            call(0, None, None, ":1}"),
            call(1, None, None, ":2}"),
        ],
        [call(0, "same", "f", '{"n":1}'), call(1, "same", "f", '{"n":2}')],
    ],
)
async def test_two_calls_stay_two_calls(pieces: list[Any]) -> None:
    got = await answer(*pieces, delta(finish="tool_calls"))
    assert got.calls == [("f", '{"n":1}'), ("f", '{"n":2}')]
    assert len({each.id for each in got.reply.message.tool_calls}) == 2


async def test_arguments_stay_exactly_as_written_even_if_they_are_no_json() -> None:
    got = await answer(call(0, "a", "f", "{path: 'x' "), delta(finish="tool_calls"))
    assert got.calls == [("f", "{path: 'x' ")]


async def test_arguments_may_be_an_object() -> None:
    got = await answer(call(0, "a", "f", {"n": 1}), delta(finish="stop"))
    assert got.calls == [("f", '{"n":1}')]
    assert got.reply.message.finish_reason == "tool_calls"


async def test_an_id_that_was_used_before_is_replaced() -> None:
    history = [
        UserMessage.of("x"),
        AssistantMessage(tool_calls=(ToolCall("call_0", "f", "{}"),)),
        ToolMessage("call_0", "f", "ok"),
    ]
    got = await answer(
        call(0, "call_0", "f", "{}"), delta(finish="tool_calls"), request=ModelRequest("", history)
    )
    assert got.reply.message.tool_calls[0].id != "call_0"


@pytest.mark.parametrize(
    "events",
    [
        [delta("half an ans")],
        [delta("text"), call(0, "a", "f", '{"path": "/etc')],
        [call(0, "a", "f", '{"path": "/etc/passwd"}')],
        [delta("text"), b'data: {"choices":[{"delta":{"content":"mo'],
        [delta(None)],
    ],
)
async def test_a_cut_stream_is_an_error_and_never_half_a_call(events: list[Any]) -> None:
    with pytest.raises(StreamCutError) as caught:
        await answer(*events, done=False, close=True)
    assert caught.value.partial_text in ("", "text", "half an ans")


async def test_a_connection_reset_in_the_middle_is_a_cut_stream() -> None:
    async def reset(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        data = b"data: " + json.dumps(delta("part")).encode() + b"\n\n"
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()
        writer.transport.abort()

    async with loopback(reset) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        with pytest.raises(StreamCutError) as caught:
            await ask(model, HI)
        await model.aclose()
        assert caught.value.partial_text == "part"


async def test_an_end_marker_without_finish_reason_is_an_end() -> None:
    got = await answer(delta("done"))
    assert got.reply.message.finish_reason == "stop"


async def test_a_finish_reason_without_end_marker_is_an_end() -> None:
    got = await answer(delta("done"), delta(finish="stop"), done=False, close=True)
    assert got.text == "done"


async def test_half_a_call_at_the_output_limit_is_left_out() -> None:
    got = await answer(
        delta("I will"),
        call(0, "a", "f", '{"n":1}'),
        call(1, "b", "g", '{"path": "/e'),
        delta(finish="length"),
    )
    assert got.calls == [("f", '{"n":1}')]
    assert got.reply.message.finish_reason == "length"


@pytest.mark.parametrize("events", [[delta(finish="stop")], [delta("  \n"), delta(finish="stop")], []])
async def test_an_empty_answer_is_an_error(events: list[Any]) -> None:
    with pytest.raises(ModelResponseError):
        await answer(*events)


async def test_reasoning_without_an_answer_is_an_error_that_says_so() -> None:
    with pytest.raises(ModelResponseError, match="thought but gave no answer"):
        await answer(delta(reasoning_content="hm"), delta(finish="stop"))


@pytest.mark.parametrize(
    "events",
    [
        [delta(reasoning_content="why"), delta("so")],
        [delta(reasoning="why"), delta("so")],
        [delta(reasoning_details=[{"type": "reasoning.text", "text": "why", "index": 0}]), delta("so")],
        [delta("<think>why</think>so")],
        [delta("<th"), delta("ink>w"), delta("hy</"), delta("think"), delta(">\n\nso")],
        [
            delta(
                [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]},
                    {"type": "text", "text": "so"},
                ]
            )
        ],  # type: ignore[arg-type]
        [delta("why\n</think>\nso")],
    ],
)
async def test_reasoning_is_told_apart_from_the_answer(events: list[Any]) -> None:
    got = await answer(*events, delta(finish="stop"))
    assert got.reply.message.text == "so"
    assert (got.reply.message.reasoning or "").strip() == "why"


async def test_events_may_be_framed_in_every_legal_way() -> None:
    first, second = (json.dumps(each).encode() for each in (delta("a"), delta("b", "stop")))
    got = await answer(
        b": keep-alive\r\n\r\n",
        b"event: message\r\nid: 7\r\ndata:" + first + b"\r\n\r\n",
        b"\r\n: OPENROUTER PROCESSING\n\nretry: 5\n",
        b"data: " + second + b"\n\n",
        b"data: null\n\n",
    )
    assert got.text == "ab"


async def test_a_compressed_stream_is_read() -> None:
    data = gzip.compress(b"data: " + json.dumps(delta("zip", "stop")).encode() + b"\n\ndata: [DONE]\n\n")
    async with loopback(http(data, kind="text/event-stream", content_encoding="gzip")) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        assert (await ask(model, HI)).text == "zip"
        await model.aclose()


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/json; charset=utf-8"])
async def test_a_server_that_does_not_stream_is_understood(kind: str) -> None:
    message = {
        "role": "assistant",
        "content": "whole",
        "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
    }
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 3}}
    async with loopback(http(json.dumps(body).encode(), kind=kind)) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        got = await ask(model, HI)
        await model.aclose()
        assert (got.text, got.calls, got.reply.usage.input_tokens) == ("whole", [("f", "{}")], 3)


@pytest.mark.parametrize(
    "raw",
    [
        http(b"data: this is not json\n\n", kind="text/event-stream"),
        http(b"data: 42\n\n", kind="text/event-stream"),
        http(b"[]"),
        http(b"{"),
        http(b"{}"),
        http(b"\xff\xfe\x00garbage", kind="application/octet-stream"),
    ],
)
async def test_garbage_is_named_as_such(raw: bytes) -> None:
    error = await failure(raw)
    assert isinstance(error, ModelResponseError)
    assert "/v1" in (error.remedy or "")


async def test_an_empty_body_is_a_cut_stream() -> None:
    assert isinstance(await failure(http(b"", kind="text/event-stream")), StreamCutError)


async def test_an_error_frame_inside_the_stream_keeps_what_came_before() -> None:
    with pytest.raises(ModelServerError) as caught:
        await answer(delta("so far"), {"error": {"code": 502, "message": "upstream died"}, "choices": []})
    assert caught.value.partial_text == "so far"
    assert "upstream died" in (caught.value.why or "")


async def test_a_rate_limit_inside_the_stream_is_a_rate_limit() -> None:
    with pytest.raises(ModelRateLimitError):
        await answer({"error": {"type": "rate_limit_error", "message": "slow down"}})


async def test_a_finish_reason_of_error_is_an_error() -> None:
    with pytest.raises(ModelServerError):
        await answer(delta("so"), delta(finish="error"))


def error_body(message: str, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("400 Bad Request", error_body("bad parameter"), ModelRequestError),
        ("401 Unauthorized", error_body("no"), ModelAuthError),
        ("402 Payment Required", error_body("pay"), ModelQuotaError),
        ("403 Forbidden", error_body("no"), ModelAuthError),
        ("404 Not Found", error_body("The model `m` does not exist"), ModelNotFoundError),
        ("400 Bad Request", error_body("API key not valid. Please pass a valid one."), ModelAuthError),
        ("400 Bad Request", error_body("model 'm' not found"), ModelNotFoundError),
        ("403 Forbidden", error_body("insufficient credits"), ModelQuotaError),
        ("408 Request Timeout", b"", ModelTimeoutError),
        ("409 Conflict", b"", ModelServerError),
        ("413 Payload Too Large", b"", ContextOverflowError),
        ("429 Too Many Requests", error_body("slow"), ModelRateLimitError),
        (
            "429 Too Many Requests",
            error_body("You exceeded your current quota", code="insufficient_quota"),
            ModelQuotaError,
        ),
        (
            "429 Too Many Requests",  # Gemini says this of requests per minute
            error_body("You exceeded your current quota", code=429, status="RESOURCE_EXHAUSTED"),
            ModelRateLimitError,
        ),
        ("500 Internal Server Error", b"<html><title>Oops</title>", ModelServerError),
        ("529 Overloaded", b"", ModelServerError),
        ("302 Found", b"", ModelRequestError),
        ("400 Bad Request", error_body("maximum context length is 8192 tokens"), ContextOverflowError),
        ("400 Bad Request", error_body("x", code="context_length_exceeded"), ContextOverflowError),
        (
            "400 Bad Request",
            error_body("the request exceeds the available context size"),
            ContextOverflowError,
        ),
        (
            "500 Internal Server Error",
            error_body("Context size has been exceeded: n_ctx 4096"),
            ContextOverflowError,
        ),
    ],
)
async def test_every_status_is_its_own_error(status: str, body: bytes, kind: type[ModelError]) -> None:
    error = await failure(http(body, status=status, x_request_id="req-1", location="http://other/"))
    assert type(error) is kind
    assert error.diagnostics["x-request-id"] == "req-1"
    assert error.status == int(status[:3])


async def test_the_text_of_a_refusal_is_shown_without_the_key() -> None:
    body = error_body("Incorrect API key provided: my-very-own-key. Find it at sk-proj-abcdefgh12345678.")
    error = await failure(
        http(body, status="401 Unauthorized"), key="my-very-own-key", key_names=("SOME_API_KEY",)
    )
    shown = " ".join(error.lines)
    assert "Incorrect API key provided" in shown
    assert "my-very-own-key" not in shown
    assert "sk-proj" not in shown
    assert "SOME_API_KEY" in shown


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0.5", 0.5), ("soon", None), ("-3", None), ("nan", None)]
)
async def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    assert (await failure(http(b"", status="429 No", retry_after=value))).retry_after_seconds == seconds


async def test_an_unreachable_endpoint_names_the_address_and_how_to_start_the_server() -> None:
    model = ChatCompletionsModel(endpoint("http://127.0.0.1:9/v1", provider="ollama"))
    with pytest.raises(ModelConnectionError) as caught:
        await ask(model, HI)
    await model.aclose()
    assert "127.0.0.1:9" in caught.value.message
    assert "ollama serve" in (caught.value.remedy or "")


async def test_an_unknown_host_is_unreachable() -> None:
    model = ChatCompletionsModel(endpoint("http://no-such-host.invalid/v1"))
    with pytest.raises(ModelConnectionError, match=r"no-such-host\.invalid"):
        await ask(model, HI)
    await model.aclose()


async def test_a_server_that_hangs_up_is_a_connection_error() -> None:
    async def hang_up(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with loopback(hang_up) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        with pytest.raises(ModelConnectionError):
            await ask(model, HI)
        await model.aclose()


async def silent(_: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def silent_after_start(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    writer.write(b"data: " + json.dumps(delta("first")).encode() + b"\n\n")
    await writer.drain()
    await asyncio.Event().wait()


async def test_silence_before_the_answer_times_out() -> None:
    async with loopback(silent) as server:
        model = ChatCompletionsModel(endpoint(server.url, first_byte_timeout_seconds=0.05))
        with pytest.raises(ModelTimeoutError, match="did not begin"):
            await ask(model, HI)
        await model.aclose()


async def test_silence_in_the_middle_times_out_and_keeps_nothing_open() -> None:
    async with loopback(silent_after_start) as server:
        model = ChatCompletionsModel(endpoint(server.url, stale_timeout_seconds=0.05))
        with pytest.raises(ModelTimeoutError, match="stopped sending"):
            await ask(model, HI)
        await model.aclose()


async def test_keep_alive_comments_alone_do_not_keep_a_stream_alive() -> None:
    async def comments(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        stop = asyncio.Event()
        while not writer.is_closing():
            writer.write(b": still here\n\n")
            try:
                await writer.drain()
                async with asyncio.timeout(0.01):
                    await stop.wait()
            except TimeoutError:
                continue

    async with loopback(comments) as server:
        model = ChatCompletionsModel(endpoint(server.url, stale_timeout_seconds=0.1))
        with pytest.raises(ModelTimeoutError):
            await ask(model, HI)
        await model.aclose()


async def test_cancelling_the_consumer_closes_the_connection() -> None:
    async with loopback(_until_closed) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        started = asyncio.Event()

        async def consume() -> None:
            async for _ in model.stream(HI):
                started.set()

        task = asyncio.create_task(consume())
        await asyncio.wait_for(started.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.closed.wait(), 5)
        await model.aclose()


async def _until_closed(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    data = b"data: " + json.dumps(delta("x" * 1000)).encode() + b"\n\n"
    while not writer.is_closing():
        writer.write(data)
        await writer.drain()


async def test_lone_surrogates_are_removed_on_the_way_in_and_out() -> None:
    got = await answer(
        b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\ude00b\\udc00c"},"finish_reason":"stop"}]}\n\n',
    )
    assert got.text == "a\N{GRINNING FACE}bc"
    async with loopback(sse(delta("ok", "stop"))) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        await ask(model, ModelRequest("s\udc80", [UserMessage.of("x\ud800y")]))
        await model.aclose()
        assert server.requests[0].json["messages"] == [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "xy"},
        ]


async def test_glm_at_ollama_is_known_to_be_cut_by_its_ending() -> None:
    profile = Profile(checks_endings=True)
    assert (
        await answer(delta("and then the", "stop"), profile=profile)
    ).reply.message.finish_reason == "length"
    assert (await answer(delta("The end.", "stop"), profile=profile)).reply.message.finish_reason == "stop"


async def test_images_go_to_models_that_see_and_are_named_to_those_that_do_not() -> None:
    image = ImagePart("image/png", "AAAA")
    history = [
        UserMessage((TextPart("look"), image)),
        AssistantMessage(tool_calls=(ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))),
        ToolMessage("a", "f", "one", (image,)),
        ToolMessage("b", "f", "two"),
    ]
    async with loopback(sse(delta("ok", "stop"))) as server:
        for sees in (True, False):
            model = ChatCompletionsModel(endpoint(server.url, supports_images=sees))
            await ask(model, ModelRequest("", history))
            await model.aclose()
        seen, unseen = (request.json["messages"] for request in server.requests)
        assert [message["role"] for message in seen] == ["user", "assistant", "tool", "tool", "user"]
        assert seen[0]["content"][1]["image_url"]["url"] == "data:image/png;base64,AAAA"
        assert seen[4]["content"][1]["type"] == "image_url"
        assert "cannot see" in unseen[0]["content"]
        assert "cannot see" in unseen[2]["content"]
        assert "AAAA" not in json.dumps(unseen)


@pytest.mark.parametrize("kind", ["text/html", "text/event-stream", "application/json"])
async def test_a_web_page_instead_of_a_model_is_named_and_not_worth_a_retry(kind: str) -> None:
    error = await failure(http(b"<!doctype html><title>Welcome to nginx</title>", kind=kind))
    assert isinstance(error, ModelNotFoundError)
    assert "Welcome to nginx" in (error.why or "")


async def test_an_endpoint_that_wants_a_key_and_got_none_says_where_to_put_it() -> None:
    error = await failure(http(error_body("no"), status="401 Unauthorized"), key="")
    assert "wants a key" in error.message
    assert "api_key" in (error.remedy or "")


async def test_what_a_provider_wants_back_with_a_call_is_sent_back() -> None:
    signature = {"google": {"thought_signature": "abc"}}
    piece = call(0, "a", "f", "{}")
    piece["choices"][0]["delta"]["tool_calls"][0]["extra_content"] = signature
    message = (await answer(piece, delta(finish="tool_calls"))).reply.message
    async with loopback(sse(delta("ok", "stop"))) as server:
        for model_name in ("m", "other"):
            model = ChatCompletionsModel(endpoint(server.url, model=model_name))
            await ask(model, ModelRequest("", [UserMessage.of("x"), message]))
            await model.aclose()
        same, other = (request.json["messages"][1]["tool_calls"][0] for request in server.requests)
        assert same["extra_content"] == signature
        assert "extra_content" not in other


async def test_a_setting_that_a_server_refuses_by_name_is_left_out_from_then_on() -> None:
    refusal = http(error_body("Unsupported parameter: 'stream_options'"), status="400 Bad Request")
    rename = http(
        error_body("Use 'max_completion_tokens' instead of 'max_tokens'."), status="400 Bad Request"
    )
    async with loopback(refusal, rename, sse(delta("ok", "stop"))) as server:
        model = ChatCompletionsModel(endpoint(server.url, max_output_tokens=9))
        for _ in range(2):
            assert (await ask(model, HI)).text == "ok"
        await model.aclose()
        bodies = [request.json for request in server.requests]
        assert len(bodies) == 4
        assert "stream_options" in bodies[0]
        assert bodies[2] == bodies[3]
        assert bodies[2]["max_completion_tokens"] == 9
        assert not {"stream_options", "max_tokens"} & set(bodies[2])


async def test_a_refusal_that_names_nothing_is_not_repeated() -> None:
    async with loopback(http(error_body("Invalid 'messages'"), status="400 Bad Request")) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        with pytest.raises(ModelRequestError):
            await ask(model, HI)
        await model.aclose()
        assert len(server.requests) == 1


async def test_a_refusal_that_does_not_end_is_an_error() -> None:
    everything = "stream_options prompt_cache_key reasoning_effort thinking reasoning usage max_tokens"
    async with loopback(http(error_body(everything), status="400 Bad Request")) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        with pytest.raises(ModelRequestError):
            await ask(model, HI)
        await model.aclose()
        assert len(server.requests) == 2


@pytest.mark.parametrize("proxy", ["garbage", "socks9://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_named(proxy: str) -> None:
    with pytest.raises(ProviderSetupError, match=r"example\.com:443"):
        ChatCompletionsModel(endpoint("https://example.com/v1", proxy=proxy))


async def test_proxies_of_the_environment_are_used_only_if_they_were_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        loopback(sse(delta("ok", "stop"))) as server,
        loopback(sse(delta("via proxy", "stop"))) as proxy,
    ):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
        direct = ChatCompletionsModel(endpoint(server.url))
        assert (await ask(direct, HI)).text == "ok"
        await direct.aclose()
        chosen = endpoint("http://model.invalid/v1", proxy=f"http://127.0.0.1:{proxy.port}")
        through = ChatCompletionsModel(chosen)
        assert (await ask(through, HI)).text == "via proxy"
        await through.aclose()


async def test_headers_that_cannot_be_sent_are_named() -> None:
    async with loopback(sse(delta("ok", "stop"))) as server:
        for value in ("sch\u00f6n \u2713", "two\nlines"):
            model = ChatCompletionsModel(endpoint(server.url, headers={"X-Own": value}))
            with pytest.raises(ModelRequestError, match="cannot be written"):
                await ask(model, HI)
            await model.aclose()


async def test_many_requests_at_once_do_not_mix() -> None:
    async def echo(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(sse(delta(request.json["messages"][-1]["content"], "stop")))
        await writer.drain()

    async with loopback(echo) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        requests = [
            ModelRequest("", [UserMessage.of(f"number {each}")], session_id=str(each)) for each in range(20)
        ]
        answers = await asyncio.gather(*(ask(model, request) for request in requests))
        await model.aclose()
        assert [each.text for each in answers] == [f"number {each}" for each in range(20)]


async def test_reasoning_details_go_back_joined_to_the_model_they_came_from() -> None:
    profile = Profile(echo_reasoning_details=True)
    pieces = [
        {"type": "reasoning.text", "text": "wh", "index": 0},
        {"type": "reasoning.text", "text": "y", "index": 0, "signature": "s"},
        {"type": "reasoning.encrypted", "data": "x", "index": 1},
    ]
    events = [delta(reasoning_details=[piece]) for piece in pieces]
    message = (await answer(*events, delta("so", "stop"), profile=profile)).reply.message
    assert message.reasoning == "why"
    async with loopback(sse(delta("ok", "stop"))) as server:
        model = ChatCompletionsModel(endpoint(server.url, profile=profile))
        await ask(model, ModelRequest("", [UserMessage.of("x"), message]))
        await model.aclose()
        joined = {"type": "reasoning.text", "text": "why", "index": 0, "signature": "s"}
        assert server.requests[0].json["messages"][1]["reasoning_details"] == [joined, pieces[2]]


async def test_a_refusal_is_shown_as_the_answer() -> None:
    assert (await answer(delta(refusal="I cannot."), delta(finish="stop"))).text == "I cannot."


async def test_a_request_that_takes_too_long_altogether_is_ended() -> None:
    async def slowly(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        tick = asyncio.Event()
        while not writer.is_closing():
            writer.write(b"data: " + json.dumps(delta("x")).encode() + b"\n\n")
            try:
                await writer.drain()
                async with asyncio.timeout(0.01):
                    await tick.wait()
            except TimeoutError:
                continue

    async with loopback(slowly) as server:
        model = ChatCompletionsModel(endpoint(server.url, request_timeout_seconds=0.2))
        with pytest.raises(ModelTimeoutError, match=r"was not done within 0\.2 s"):
            await ask(model, HI)
        await model.aclose()


async def test_a_blank_before_the_rest_of_a_cut_answer_is_kept() -> None:
    async with loopback(sse(delta(" and the rest", "stop"))) as server:
        model = ChatCompletionsModel(endpoint(server.url))
        reply = await ask(model, HI)
        await model.aclose()
    assert reply.text == " and the rest"
