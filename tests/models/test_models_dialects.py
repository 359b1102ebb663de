"""What all dialects promise: a prefix that only grows, an order every provider accepts, equal bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_loopback import TOOL, ask, endpoint, http, loopback

from hermes_agent.core.errors import ModelServerError, StreamCutError
from hermes_agent.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from hermes_agent.core.model import ModelRequest, ToolDefinition
from hermes_agent.models import anthropic_messages, chat_request, responses
from hermes_agent.models.anthropic_messages import AnthropicMessagesModel
from hermes_agent.models.encoding import canonical_schema, dumps, group_messages
from hermes_agent.models.profiles import Profile, profile_for
from hermes_agent.models.responses import ResponsesModel

WRITERS: dict[str, Any] = {
    "chat_completions": chat_request.RequestWriter,
    "codex_responses": responses.RequestWriter,
    "anthropic_messages": anthropic_messages.RequestWriter,
}
LIST_OF = {"chat_completions": "messages", "codex_responses": "input", "anthropic_messages": "messages"}
URL = "http://127.0.0.1:1/v1"


def rounds(count: int) -> list[Message]:
    """A user's question and `count` tool rounds."""
    messages: list[Message] = [UserMessage.of("Go on, prüfe das.")]
    for number in range(count):
        call = ToolCall(f"call_{number}", "read_file", json.dumps({"path": f"/{number}"}))
        messages.append(AssistantMessage(f"Step {number}", (call,), reasoning="hm"))
        messages.append(ToolMessage(call.id, "read_file", f"content {number} ✓"))
    return messages


def without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_marks(each) for key, each in value.items() if key != "cache_control"}
    return [without_marks(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("dialect", WRITERS)
def test_a_request_begins_with_the_bytes_of_the_one_before(dialect: str) -> None:
    writer = WRITERS[dialect](endpoint(URL, dialect=dialect))
    history = rounds(6)
    before = b""
    for end in range(1, len(history) + 1, 2):
        body = writer.write(ModelRequest("System.", history[:end], [TOOL], session_id="s"))
        if dialect == "anthropic_messages":  # its marks move with the newest messages and are no content
            body = dumps(without_marks(json.loads(body)))
        assert body.startswith(before.removesuffix(b"]}"))
        assert json.loads(body)
        before = body


@pytest.mark.parametrize("dialect", WRITERS)
def test_equal_values_are_equal_bytes_in_every_process(dialect: str) -> None:
    def body() -> bytes:
        writer = WRITERS[dialect](endpoint(URL, dialect=dialect))
        result: bytes = writer.write(ModelRequest("System.", rounds(3), [TOOL], session_id="s"))
        return result

    assert body() == body()


@pytest.mark.parametrize("dialect", WRITERS)
def test_a_remembered_conversation_is_written_like_a_new_one(dialect: str) -> None:
    remembering = WRITERS[dialect](endpoint(URL, dialect=dialect))
    history = rounds(5)
    for end in (1, 3, 4, 7, 11, 5, 11, 2, 9):  # also after an undo
        request = ModelRequest("S", history[:end], [TOOL], session_id="s")
        fresh = WRITERS[dialect](endpoint(URL, dialect=dialect))
        assert remembering.write(request) == fresh.write(request)


@pytest.mark.parametrize("dialect", WRITERS)
def test_sessions_do_not_mix(dialect: str) -> None:
    writer = WRITERS[dialect](endpoint(URL, dialect=dialect))
    for number in range(40):
        body = writer.write(
            ModelRequest("S", [UserMessage.of(f"I am {number}")], session_id=f"s{number % 20}")
        )
        assert f"I am {number}".encode() in body
        assert body.count(b"I am") == 1


@pytest.mark.parametrize("dialect", WRITERS)
def test_new_tools_or_another_prompt_are_noticed(dialect: str) -> None:
    writer = WRITERS[dialect](endpoint(URL, dialect=dialect))
    other = ToolDefinition("write_file", "Write.", {"type": "object", "properties": {}})
    say = [UserMessage.of("x")]
    first = writer.write(ModelRequest("One", say, [TOOL], session_id="s"))
    second = writer.write(ModelRequest("Two", say, [TOOL, other], session_id="s"))
    assert b"write_file" not in first
    assert b"write_file" in second
    assert b"Two" in second


def test_the_order_of_keys_in_a_schema_does_not_matter_but_required_ones_come_first() -> None:
    one = {
        "type": "object",
        "properties": {"b": {"type": "string"}, "a": {}, "c": {}},
        "required": ["c", "b"],
    }
    other = {
        "required": ["c", "b"],
        "properties": {"c": {}, "a": {}, "b": {"type": "string"}},
        "type": "object",
    }
    assert dumps(canonical_schema(one)) == dumps(canonical_schema(other))
    assert list(canonical_schema(one)["properties"]) == ["c", "b", "a"]


TEXTS = st.text(max_size=8)
IDS = st.sampled_from(["a", "b", "c"])
CALLS = st.builds(ToolCall, IDS, st.just("f"), TEXTS)
MESSAGES = st.lists(
    st.one_of(
        TEXTS.map(UserMessage.of),
        st.builds(ToolMessage, IDS, st.just("f"), TEXTS),
        st.builds(
            AssistantMessage,
            TEXTS,
            st.lists(
                st.builds(ToolCall, IDS, st.just("f"), TEXTS), max_size=2, unique_by=lambda each: each.id
            ).map(tuple),
        ),
    ),
    max_size=12,
)


@given(MESSAGES)
def test_every_call_gets_exactly_one_result_right_after_it(messages: list[Message]) -> None:
    groups = group_messages(messages)
    for place, group in enumerate(groups):
        if isinstance(group, AssistantMessage):
            assert group.text or group.tool_calls
            following = groups[place + 1] if place + 1 < len(groups) else None
            if group.tool_calls:
                assert following is not None
                assert not isinstance(following, AssistantMessage)
                assert sorted(each.tool_call_id for each in following.results) == sorted(
                    each.id for each in group.tool_calls
                )
        elif place == 0 or not isinstance(groups[place - 1], AssistantMessage):
            assert not group.results


@given(MESSAGES, st.sampled_from(sorted(WRITERS)), st.lists(st.integers(0, 12), max_size=4))
def test_any_history_is_written_as_valid_json_and_remembered_rightly(
    messages: list[Message], dialect: str, ends: list[int]
) -> None:
    writer = WRITERS[dialect](endpoint(URL, dialect=dialect))
    for end in [*ends, len(messages)]:
        request = ModelRequest("S", messages[:end], [TOOL], session_id="s")
        body = writer.write(request)
        json.loads(body)
        assert body == WRITERS[dialect](endpoint(URL, dialect=dialect)).write(request)


def written(dialect: str, messages: list[Message], **options: Any) -> list[dict[str, Any]]:
    writer = WRITERS[dialect](endpoint(URL, dialect=dialect, **options))
    found: list[dict[str, Any]] = json.loads(writer.write(ModelRequest("S", messages, [TOOL])))[
        LIST_OF[dialect]
    ]
    return found


CUT_OFF: list[Message] = [
    UserMessage.of("x"),
    AssistantMessage(tool_calls=(ToolCall("a", "f", '{"n": 1}'), ToolCall("b", "f", "not json"))),
    ToolMessage("a", "f", "done"),
    UserMessage.of("stop that"),
]


def test_an_interrupted_round_is_completed_for_chat_completions() -> None:
    messages = written("chat_completions", CUT_OFF)
    assert [each["role"] for each in messages] == ["system", "user", "assistant", "tool", "tool", "user"]
    calls = messages[2]["tool_calls"]
    assert calls[0]["function"]["arguments"] == '{"n": 1}'
    assert json.loads(calls[1]["function"]["arguments"]) == {"invalid_json": "not json"}
    assert "interrupted" in messages[4]["content"]


def test_an_interrupted_round_is_completed_for_responses() -> None:
    items = written("codex_responses", CUT_OFF)
    assert [each["type"] for each in items] == [
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "message",
    ]


def test_an_interrupted_round_is_completed_for_anthropic() -> None:
    messages = written("anthropic_messages", CUT_OFF)
    assert [each["role"] for each in messages] == ["user", "assistant", "user"]
    assert [block["type"] for block in messages[2]["content"]] == ["tool_result", "tool_result", "text"]
    assert messages[1]["content"][1]["input"] == {"invalid_json": "not json"}


def test_neighbouring_user_messages_are_one_and_thinking_alone_is_dropped() -> None:
    messages = [UserMessage.of("a"), AssistantMessage("", reasoning="hm"), UserMessage.of("b")]
    assert written("chat_completions", messages)[1:] == [{"role": "user", "content": "a\n\nb"}]


def test_reasoning_is_sent_back_where_it_must_be_and_nowhere_else() -> None:
    history = rounds(1)
    deepseek = profile_for("deepseek", "https://api.deepseek.com/v1", "deepseek-chat")
    echoed = written("chat_completions", history, profile=deepseek)[2]
    plain = written("chat_completions", history, profile=Profile())[2]
    assert echoed["reasoning_content"] == "hm"
    assert "reasoning_content" not in plain
    without = [history[0], AssistantMessage("", (ToolCall("z", "f", "{}"),))]
    assert written("chat_completions", without, profile=deepseek)[2]["reasoning_content"] == " "


@pytest.mark.parametrize(
    ("provider", "url", "model", "echo"),
    [
        ("deepseek", "https://api.deepseek.com/v1", "deepseek-chat", True),
        ("custom", "https://api.deepseek.com/v1", "deepseek-chat", True),
        ("openrouter", "https://openrouter.ai/api/v1", "deepseek/deepseek-chat", False),
        ("kimi-coding", "https://api.moonshot.ai/v1", "k2", True),
        ("kimi-coding-cn", "https://proxy.example/v1", "k2", True),
        ("custom", "https://api.kimi.com/coding/v1", "k2", True),
        ("custom", "https://api.moonshot.cn/v1", "k2", True),
        ("openrouter", "https://openrouter.ai/api/v1", "moonshotai/kimi-k2", False),
        ("xiaomi", "https://proxy.example/v1", "x", True),
        ("custom", "https://example.com/v1", "MiMo-v2", True),
        ("custom", "https://api.xiaomimimo.com/v1", "x", True),
        ("custom", "https://notxiaomimimo.com/v1", "x", False),
    ],
)
def test_who_needs_reasoning_back(provider: str, url: str, model: str, echo: bool) -> None:
    assert profile_for(provider, url, model).echo_reasoning is echo


def test_anthropic_marks_the_system_prompt_and_the_last_three_messages() -> None:
    writer = anthropic_messages.RequestWriter(endpoint(URL, dialect="anthropic_messages", cache_ttl="1h"))
    body = json.loads(writer.write(ModelRequest("S", rounds(4), [TOOL])))
    mark = {"type": "ephemeral", "ttl": "1h"}
    assert body["system"][0]["cache_control"] == mark
    marked = [any("cache_control" in block for block in message["content"]) for message in body["messages"]]
    assert marked == [False] * (len(marked) - 3) + [True] * 3
    assert json.dumps(body).count("cache_control") == 4


def test_openrouter_marks_claude_in_the_envelope() -> None:
    profile = profile_for("openrouter", "https://openrouter.ai/api/v1", "anthropic/claude-sonnet-4.5")
    messages = written("chat_completions", rounds(4), profile=profile)
    assert messages[0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert json.dumps(messages).count("cache_control") == 4
    other = profile_for("openrouter", "https://openrouter.ai/api/v1", "openai/gpt-5.1")
    assert "cache_control" not in json.dumps(written("chat_completions", rounds(4), profile=other))


def test_the_session_is_the_cache_key_where_there_is_one() -> None:
    profile = profile_for("openai-api", "https://api.openai.com/v1", "gpt-5.1")
    for dialect in ("chat_completions", "codex_responses"):
        writer = WRITERS[dialect](endpoint(URL, dialect=dialect, profile=profile))
        assert (
            json.loads(writer.write(ModelRequest("S", rounds(1), session_id="s7")))["prompt_cache_key"]
            == "s7"
        )


# --- Responses -----------------------------------------------------------------------------------


def event_stream(*events: dict[str, Any]) -> bytes:
    data = b"".join(
        b"event: %s\ndata: %s\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in events
    )
    return http(data, kind="text/event-stream")


DONE = {"type": "response.completed", "response": {"status": "completed", "output": []}}
REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "encrypted_content": "gAAA",
    "status": "completed",
}


async def responses_answer(*events: dict[str, Any]) -> Any:
    async with loopback(event_stream(*events)) as server:
        model = ResponsesModel(endpoint(server.url, model="gpt-5.1", dialect="codex_responses"), "k")
        try:
            return await ask(model, ModelRequest("S", [UserMessage.of("hi")], [TOOL], reasoning_effort="low"))
        finally:
            await model.aclose()


async def test_a_response_is_streamed_and_put_together() -> None:
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "read_file", "arguments": ""}
    usage = {"input_tokens": 5, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}}
    got = await responses_answer(
        {"type": "response.created", "response": {"status": "in_progress", "error": None}},
        {"type": "response.reasoning_summary_text.delta", "delta": "why", "output_index": 0},
        {"type": "response.output_item.done", "output_index": 0, "item": REASONING},
        {"type": "response.output_text.delta", "delta": "so", "output_index": 1},
        {"type": "response.output_item.added", "output_index": 2, "item": item},
        {
            "type": "response.function_call_arguments.delta",
            "output_index": 2,
            "item_id": "fc_1",
            "delta": '{"pa',
        },
        {
            "type": "response.function_call_arguments.delta",
            "output_index": 2,
            "item_id": "fc_1",
            "delta": 'th":"x"}',
        },
        {
            "type": "response.output_item.done",
            "output_index": 2,
            "item": {**item, "arguments": '{"path":"x"}'},
        },
        {"type": "response.completed", "response": {"status": "completed", "usage": usage, "output": []}},
    )
    message = got.reply.message
    assert (got.text, got.reasoning, got.calls) == ("so", "why", [("read_file", '{"path":"x"}')])
    assert message.tool_calls[0].id == "call_1"
    assert (got.reply.usage.input_tokens, got.reply.usage.cache_read_tokens) == (5, 2)
    assert message.provider_data is not None
    again = responses.RequestWriter(endpoint(URL, model="gpt-5.1", dialect="codex_responses"))
    items = json.loads(again.write(ModelRequest("S", [UserMessage.of("hi"), message])))["input"]
    assert items[1] == {key: value for key, value in REASONING.items() if key != "status"}
    stranger = responses.RequestWriter(endpoint(URL, model="grok-4", dialect="codex_responses"))
    assert "gAAA" not in stranger.write(ModelRequest("S", [UserMessage.of("hi"), message])).decode()


async def test_a_response_without_deltas_is_read_from_its_end() -> None:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "whole"}]}]
    response = {"object": "response", "status": "completed", "error": None, "output": output}
    assert (await responses_answer({"type": "response.completed", "response": response})).text == "whole"
    async with loopback(http(json.dumps(response).encode())) as server:
        model = ResponsesModel(endpoint(server.url, dialect="codex_responses"))
        assert (await ask(model, ModelRequest("", [UserMessage.of("hi")]))).text == "whole"
        await model.aclose()


async def test_an_incomplete_response_hit_its_limit() -> None:
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []}
    got = await responses_answer(
        {"type": "response.output_text.delta", "delta": "so"},
        {"type": "response.incomplete", "response": cut},
    )
    assert got.reply.message.finish_reason == "length"


async def test_a_response_that_fails_or_is_cut_is_an_error() -> None:
    failed = {"status": "failed", "error": {"code": "server_error", "message": "boom"}}
    with pytest.raises(ModelServerError) as caught:
        await responses_answer({"type": "response.failed", "response": failed})
    assert caught.value.why == "boom"
    with pytest.raises(ModelServerError):
        await responses_answer({"type": "error", "code": "server_error", "message": "boom"})
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": ""}
    with pytest.raises(StreamCutError):
        await responses_answer(
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"pa'},
        )


# --- Anthropic -----------------------------------------------------------------------------------

START = {
    "type": "message_start",
    "message": {"usage": {"input_tokens": 3, "cache_read_input_tokens": 10, "output_tokens": 1}},
}
STOP = {"type": "message_stop"}


def ended(reason: str) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": each} for each in deltas),
        {"type": "content_block_stop", "index": index},
    ]


async def anthropic_answer(*events: dict[str, Any]) -> Any:
    async with loopback(event_stream(*events)) as server:
        model = AnthropicMessagesModel(endpoint(server.url, dialect="anthropic_messages"), "k")
        try:
            return await ask(model, ModelRequest("S", [UserMessage.of("hi")], [TOOL]))
        finally:
            await model.aclose()


async def test_a_message_is_streamed_and_put_together() -> None:
    got = await anthropic_answer(
        START,
        {"type": "ping"},
        *block(
            0,
            {"type": "thinking", "thinking": ""},
            {"type": "thinking_delta", "thinking": "why"},
            {"type": "signature_delta", "signature": "sig"},
        ),
        *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "so"}),
        *block(
            2,
            {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"path":'},
            {"type": "input_json_delta", "partial_json": '"x"}'},
        ),
        ended("tool_use"),
        STOP,
    )
    message = got.reply.message
    assert (got.text, got.reasoning, got.calls) == ("so", "why", [("read_file", '{"path":"x"}')])
    usage = got.reply.usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (13, 10, 7)
    history = [
        UserMessage.of("hi"),
        message,
        ToolMessage("toolu_1", "read_file", "", (ImagePart(data="AA"),), is_error=True),
    ]
    writer = anthropic_messages.RequestWriter(
        endpoint(URL, dialect="anthropic_messages", supports_images=True)
    )
    messages = json.loads(writer.write(ModelRequest("S", history)))["messages"]
    assert messages[1]["content"][0] == {"type": "thinking", "thinking": "why", "signature": "sig"}
    (result,) = messages[2]["content"]
    assert (result["is_error"], result["content"][0]["type"]) == (True, "image")


HALF_CALL = block(
    1,
    {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    {"type": "input_json_delta", "partial_json": '{"p'},
)[:2]


async def test_a_message_that_is_cut_or_fails_is_an_error() -> None:
    with pytest.raises(StreamCutError):
        await anthropic_answer(START, *HALF_CALL)
    with pytest.raises(ModelServerError):
        await anthropic_answer(
            START, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        )


async def test_half_a_call_of_a_message_at_its_limit_is_left_out() -> None:
    text = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "so"})
    got = await anthropic_answer(START, *text, *HALF_CALL, ended("max_tokens"), STOP)
    assert (got.calls, got.reply.message.finish_reason) == ([], "length")


async def test_anthropic_variables_reach_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "leak-me")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Leak: leak-me")
    events = [START, *block(0, {"type": "text", "text": "ok"}), ended("end_turn"), STOP]
    async with loopback(event_stream(*events)) as server:
        for key in ("", "own-key"):
            model = AnthropicMessagesModel(endpoint(server.url, dialect="anthropic_messages"), key)
            await ask(model, ModelRequest("", [UserMessage.of("hi")]))
            await model.aclose()
        without, with_key = server.requests
        assert "leak-me" not in str(without.headers) + str(with_key.headers)
        assert "x-api-key" not in without.headers
        assert with_key.headers["x-api-key"] == "own-key"
        assert with_key.headers["anthropic-version"]
        assert not [name for name in with_key.headers if name.startswith("x-stainless")]
        assert with_key.path == "/v1/messages"


def test_ids_of_other_providers_are_made_safe_on_both_sides() -> None:
    history: list[Message] = [
        UserMessage((TextPart("x"),)),
        AssistantMessage(tool_calls=(ToolCall("functions.f:0", "f", "{}"),)),
        ToolMessage("functions.f:0", "f", "ok"),
    ]
    messages = written("anthropic_messages", history)
    assert messages[1]["content"][0]["id"] == messages[2]["content"][0]["tool_use_id"] == "functions_f_0"


async def test_a_message_that_was_not_streamed_is_read() -> None:
    content = [
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "thinking", "thinking": "why", "signature": "s"},
        {"type": "text", "text": "so"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"n": 1}},
    ]
    body = {"type": "message", "content": content, "stop_reason": "tool_use", "usage": {"input_tokens": 4}}
    async with loopback(http(json.dumps(body).encode())) as server:
        model = AnthropicMessagesModel(endpoint(server.url, dialect="anthropic_messages"), "sk-ant-oat-token")
        got = await ask(model, ModelRequest("", [UserMessage.of("hi")]))
        await model.aclose()
        assert server.requests[0].headers["authorization"] == "Bearer sk-ant-oat-token"
        assert "x-api-key" not in server.requests[0].headers
    assert (got.text, got.reasoning, got.calls) == ("so", "why", [("f", '{"n":1}')])
    assert got.reply.message.provider_data is not None
    assert len(got.reply.message.provider_data["thinking_blocks"]) == 2


def settings_of(dialect: str, *, effort: str | None, **options: Any) -> dict[str, Any]:
    writer = WRITERS[dialect](endpoint(URL, dialect=dialect, **options))
    found: dict[str, Any] = json.loads(
        writer.write(ModelRequest("", [UserMessage.of("x")], reasoning_effort=effort))  # type: ignore[arg-type]
    )
    return found


def test_reasoning_is_asked_for_in_the_words_of_the_endpoint() -> None:
    def chat(style: str, effort: str) -> dict[str, Any]:
        return settings_of("chat_completions", effort=effort, profile=Profile(reasoning=style))  # type: ignore[arg-type]

    assert chat("effort", "low")["reasoning_effort"] == "low"
    assert chat("nested", "high")["reasoning"] == {"effort": "high"}
    assert chat("nested", "none")["reasoning"] == {"enabled": False}
    assert chat("thinking_type", "none")["thinking"] == {"type": "disabled"}
    assert chat("enable_thinking", "low")["enable_thinking"] is True
    assert not {"reasoning", "reasoning_effort", "thinking"} & set(chat("none", "high"))
    assert settings_of("codex_responses", effort="low", model="gpt-5.1")["reasoning"]["effort"] == "low"
    assert "include" not in settings_of("codex_responses", effort=None, model="gpt-4.1")
    older = settings_of("anthropic_messages", effort="high", model="claude-sonnet-4-5")
    assert older["thinking"] == {"type": "enabled", "budget_tokens": 16_000}
    newer = settings_of("anthropic_messages", effort="xhigh", model="claude-opus-4-7")
    assert (newer["thinking"], newer["output_config"]) == ({"type": "adaptive"}, {"effort": "max"})
    small = settings_of("anthropic_messages", effort="high", max_output_tokens=2000)
    assert small["thinking"]["budget_tokens"] == 1999
    assert "thinking" not in settings_of("anthropic_messages", effort="none")


def test_a_conversation_that_begins_with_an_answer_begins_with_a_user_for_anthropic() -> None:
    messages = written("anthropic_messages", [AssistantMessage("Earlier, we…"), UserMessage.of("go on")])
    assert [each["role"] for each in messages] == ["user", "assistant", "user"]


def test_images_are_written_as_each_dialect_wants_them() -> None:
    history: list[Message] = [UserMessage((TextPart("look"), ImagePart(url="https://e.example/a.png")))]
    anthropic = written("anthropic_messages", history, supports_images=True)
    assert anthropic[0]["content"][1]["source"] == {"type": "url", "url": "https://e.example/a.png"}
    items = written("codex_responses", history, supports_images=True)
    assert items[0]["content"][1] == {"type": "input_image", "image_url": "https://e.example/a.png"}
    for dialect in ("anthropic_messages", "codex_responses"):
        assert "cannot see" in json.dumps(written(dialect, history))
