"""The scripted model behind the `Model` port."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from hermes_agent.core.errors import (
    ContextOverflowError,
    ModelAuthError,
    ModelError,
    ModelNotFoundError,
    ModelQuotaError,
    ModelRateLimitError,
    ModelRequestError,
    ModelResponseError,
    ModelServerError,
    StreamCutError,
)
from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.model import (
    Model,
    ModelEvent,
    ModelReply,
    ModelRequest,
    ReasoningChunk,
    TextChunk,
    ToolCallChunk,
    ToolDefinition,
    Usage,
)
from hermes_agent.models.scripted.model import ScriptedModel

TODO = ToolDefinition("todo", "Tasks", {"type": "object", "properties": {}})


def request(*messages: Message | str, **more: Any) -> ModelRequest:
    full = [UserMessage.of(item) if isinstance(item, str) else item for item in messages]
    return ModelRequest("system prompt", full, **more)


async def play(model: Model, asked: ModelRequest) -> list[ModelEvent]:
    return [event async for event in model.stream(asked)]


async def reply(model: Model, asked: ModelRequest) -> ModelReply:
    last = (await play(model, asked))[-1]
    assert isinstance(last, ModelReply)
    return last


def called(name: str, result: str, identity: str = "c1") -> list[Message]:
    call = ToolCall(identity, name, "{}")
    return [AssistantMessage(tool_calls=(call,)), ToolMessage(identity, name, result)]


async def test_chunks_come_in_the_written_pieces_and_end_with_the_whole() -> None:
    model = ScriptedModel(
        [
            {
                "reasoning": "Hm",
                "text": ["ab", "cdef"],
                "chunk_size": 3,
                "tool_calls": [{"name": "t", "arguments": {"a": 1}}],
            }
        ]
    )
    *chunks, last = await play(model, request("x"))
    assert chunks == [
        ReasoningChunk("Hm"),
        TextChunk("ab"),
        TextChunk("cde"),
        TextChunk("f"),
        ToolCallChunk("t", 0),
        ToolCallChunk("t", 3),
        ToolCallChunk("t", 6),
        ToolCallChunk("t", 8),
    ]
    assert isinstance(last, ModelReply)
    assert last.message.text == "abcdef"
    assert last.message.reasoning == "Hm"
    assert last.message.finish_reason == "tool_calls"
    assert last.message.tool_calls[0].arguments == '{"a": 1}'
    assert last.info.dialect == "scripted"


async def test_broken_arguments_are_kept_as_they_are() -> None:
    model = ScriptedModel([{"tool_calls": [{"name": "t", "arguments": '{"a": '}], "finish_reason": "length"}])
    message = (await reply(model, request("x"))).message
    assert (message.tool_calls[0].arguments, message.finish_reason) == ('{"a": ', "length")


async def test_call_ids_differ_within_a_session_and_repeat_over_equal_conversations() -> None:
    script = {"rules": [{"tool_calls": [{"name": "t"}, {"name": "t"}]}]}
    model = ScriptedModel(script)
    first = (await reply(model, request("x"))).message
    second = (await reply(model, request("x", first, "y"))).message
    ids = [call.id for call in (*first.tool_calls, *second.tool_calls)]
    assert len(set(ids)) == 4
    assert [call.id for call in (await reply(ScriptedModel(script), request("x"))).message.tool_calls] == ids[
        :2
    ]


async def test_rules_answer_by_what_the_request_says() -> None:
    model = ScriptedModel(
        {
            "steps": [{"text": "once", "when": {"user": "start"}}],
            "rules": [
                {
                    "when": {"after": "tool", "tool": "ls", "tool_result": r"(\w+)\.txt"},
                    "text": "I see {{match.1}}.",
                },
                {
                    "when": {"user": "list (.*)", "offers": "todo"},
                    "tool_calls": [{"name": "ls", "arguments": {"path": "{{match.1}}"}}],
                },
                {"when": {"min_messages": 3, "max_messages": 3}, "text": "three"},
                {"when": {"system": "SYSTEM", "round": 0}, "text": "else", "times": 1},
            ],
        }
    )
    assert (await reply(model, request("list a", tools=(TODO,)))).message.tool_calls[
        0
    ].arguments == '{"path": "a"}'
    assert (await reply(model, request("list a", *called("ls", "b.txt")))).message.text == "I see b."
    assert (await reply(model, request("a", AssistantMessage("b"), "c"))).message.text == "three"
    assert (await reply(model, request("hello"))).message.text == "else"
    assert (await reply(model, request("start"))).message.text == "once"
    with pytest.raises(ModelRequestError):
        await reply(model, request("hello"))
    assert model.player.problems == ["request 6: no step or rule answers it (user text 'hello')"]


async def test_assert_complete_lists_all_that_is_wrong() -> None:
    model = ScriptedModel(
        [
            {
                "text": "a",
                "name": "first",
                "expect": {
                    "contains": ["hello", "absent"],
                    "not_contains": "secret",
                    "system_contains": ["system", "soul"],
                    "has_tool": "todo",
                    "lacks_tool": "memory",
                    "messages": 2,
                    "user": "^hello",
                    "min_cached_tokens": 5,
                    "model": "other",
                },
            },
            {"text": "b", "times": 2},
        ]
    )
    await reply(model, request("hello, secret"))
    await reply(model, request("x"))
    with pytest.raises(AssertionError) as caught:
        model.assert_complete()
    lines = str(caught.value).splitlines()[1:]
    assert lines == [
        "- request 1 (step 1 'first'): no message contains 'absent'",
        "- request 1 (step 1 'first'): the request contains 'secret'",
        "- request 1 (step 1 'first'): the system prompt lacks 'soul'",
        "- request 1 (step 1 'first'): tool 'todo' is not on offer",
        "- request 1 (step 1 'first'): 1 messages instead of 2",
        "- request 1 (step 1 'first'): the model is 'scripted' instead of 'other'",
        "- request 1 (step 1 'first'): 0 cached tokens instead of at least 5",
        "- step 2 was used 1 of 2 times",
    ]


async def test_the_longest_common_prefix_of_a_session_counts_as_cached() -> None:
    model = ScriptedModel({"rules": ["ok"]})
    history: list[Message] = [UserMessage.of("a" * 400)]
    first = (await reply(model, request(*history, tools=(TODO,), session_id="s"))).usage
    history += [AssistantMessage("b" * 400), UserMessage.of("c" * 400)]
    second = (await reply(model, request(*history, tools=(TODO,), session_id="s"))).usage
    other = (await reply(model, request(*history, tools=(TODO,), session_id="t"))).usage
    changed = (await reply(model, request(*history, session_id="s"))).usage
    assert (first.cache_read_tokens, second.cache_read_tokens) == (0, first.input_tokens)
    assert second.input_tokens - second.cache_read_tokens == pytest.approx(208, abs=2)
    assert other.cache_read_tokens == 0
    assert changed.cache_read_tokens == 0, "a change of the tools, which come first, loses the whole cache"
    undone = (
        await reply(model, request(history[0], AssistantMessage("other"), tools=(TODO,), session_id="s"))
    ).usage
    assert undone.cache_read_tokens == first.input_tokens


async def test_given_usage_numbers_win_over_computed_ones() -> None:
    model = ScriptedModel(
        [
            {"text": "abcd", "usage": {"input_tokens": 1000, "cache_read_tokens": 900}},
            {"text": "x", "usage": "none"},
        ]
    )
    assert (await reply(model, request("x"))).usage == Usage(1000, 1, 900, requests=1)
    assert (await reply(model, request("x"))).usage == Usage(requests=1)


async def test_requests_are_recorded_as_they_were() -> None:
    model = ScriptedModel(["a", "b"])
    messages: list[Message] = [UserMessage.of("one")]
    asked = ModelRequest("s", messages)
    await reply(model, asked)
    messages.append(UserMessage.of("two"))
    await reply(model, asked)
    assert [len(seen.messages) for seen in model.requests] == [1, 2]
    assert model.last_request.messages[-1] == UserMessage.of("two")
    model.assert_complete()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (401, ModelAuthError),
        (402, ModelQuotaError),
        (403, ModelAuthError),
        (404, ModelNotFoundError),
        (400, ModelRequestError),
        (429, ModelRateLimitError),
        (500, ModelServerError),
        (529, ModelServerError),
        ({"status": 400, "code": "context_length_exceeded"}, ContextOverflowError),
    ],
)
async def test_http_errors_are_those_of_the_port(error: object, kind: type[ModelError]) -> None:
    with pytest.raises(kind) as caught:
        await reply(ScriptedModel([{"error": error}]), request("x"))
    assert type(caught.value) is kind


async def test_an_error_carries_status_and_retry_after() -> None:
    script = [{"error": {"status": 429, "message": "slow down, {{user}}", "headers": {"Retry-After": 1.5}}}]
    with pytest.raises(ModelRateLimitError) as caught:
        await reply(ScriptedModel(script), request("you"))
    assert (caught.value.status, caught.value.retry_after_seconds, caught.value.why) == (
        429,
        1.5,
        "slow down, you",
    )


@pytest.mark.parametrize(
    ("step", "kind", "said"),
    [
        ({"text": ["a", "b", "c"], "cut": 2}, StreamCutError, "ab"),
        (
            {"text": "a", "tool_calls": [{"name": "t", "arguments": {"x": 1}}], "cut": "tool_call"},
            StreamCutError,
            "a",
        ),
        ({"text": ["a", "b"], "cut": 99}, StreamCutError, "ab"),
        ({"text": ["a", "b"], "garbage": {"after_events": 1}}, ModelResponseError, "a"),
    ],
)
async def test_broken_streams_fail_with_what_was_said_so_far(
    step: dict[str, Any], kind: type, said: str
) -> None:
    with pytest.raises(kind) as caught:
        await reply(ScriptedModel([step]), request("x"))
    assert caught.value.partial_text == said


async def test_a_hanging_answer_ends_when_it_is_cancelled() -> None:
    model = ScriptedModel([{"text": ["a", "b"], "hang": 1}])
    seen: list[ModelEvent] = []

    async def consume() -> None:
        async with aclosing(model.stream(request("x"))) as stream:  # type: ignore[type-var]
            async for event in stream:
                seen.append(event)  # noqa: PERF401 - kept when the wait is cancelled

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(consume(), 0.05)
    assert seen == [TextChunk("a")]


async def test_builtin_scripts_follow_the_models_name() -> None:
    names = {
        "echo": "hello",
        "anything": "hello",
        "tokens-3": "token0 token1 token2 ",
        "org/tokens-1": "token0 ",
    }
    for name, text in names.items():
        model = ScriptedModel({"rules": [{"builtin": name}]})
        assert (await reply(model, request("hello"))).message.text == text


async def test_tools_n_calls_a_cheap_tool_in_rounds_then_ends() -> None:
    model = ScriptedModel({"rules": [{"builtin": 'tools-2x3+tool=terminal+args={"command": "echo $ROUND"}'}]})
    terminal = ToolDefinition(
        "terminal", "Run", {"type": "object", "properties": {"command": {"type": "string"}}}
    )
    messages: list[Message] = [UserMessage.of("go")]
    commands = []
    for _ in range(3):
        message = (await reply(model, request(*messages, tools=(TODO, terminal)))).message
        commands += [json.loads(call.arguments)["command"] for call in message.tool_calls]
        messages.append(message)
        messages += [ToolMessage(call.id, call.name, "ok") for call in message.tool_calls]
    assert commands == ["echo 1"] * 3 + ["echo 2"] * 3
    assert message.text == "Done after 2 rounds of tool calls."


async def test_status_fails_so_often_then_answers() -> None:
    model = ScriptedModel({"rules": [{"builtin": "status-503-2"}]})
    for _ in range(2):
        with pytest.raises(ModelServerError):
            await reply(model, request("hello"))
    assert (await reply(model, request("hello"))).message.text == "hello"
