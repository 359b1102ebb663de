"""The three dialects never break on a body, whatever is in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_agent.core.messages import AssistantMessage, ImagePart, TextPart, ToolMessage, UserMessage
from hermes_agent.core.model import ToolDefinition
from hermes_agent.models.scripted import wire_chat, wire_messages, wire_responses
from hermes_agent.models.scripted.answer import Answer, AnswerCall
from hermes_agent.models.scripted.builtin import sample
from hermes_agent.models.scripted.wire import Decoded, WireError

DECODERS = (wire_chat.decode, wire_responses.decode, wire_messages.decode)
WORDS = st.sampled_from(
    [
        "user", "assistant", "system", "developer", "tool", "message", "function_call",
        "function_call_output", "reasoning", "text", "input_text", "output_text", "image", "image_url",
        "input_image", "tool_use", "tool_result", "thinking", "refusal", "function", "x", "data:,",
        "\ud800",
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "role", "content", "type", "text", "tool_calls", "tool_call_id", "call_id", "id", "name",
        "arguments", "function", "input", "output", "summary", "source", "data", "media_type", "url",
        "image_url", "tool_use_id", "is_error", "parameters", "input_schema", "description",
        "cache_control", "reasoning_content", "thinking", "refusal",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)
BODIES = st.fixed_dictionaries(
    {"model": st.just("m"), "max_tokens": st.just(9)},
    optional={
        "messages": st.lists(st.dictionaries(KEYS, VALUES, max_size=6), min_size=1, max_size=4) | VALUES,
        "input": st.lists(st.dictionaries(KEYS, VALUES, max_size=6), min_size=1, max_size=4) | VALUES,
        "tools": st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=2) | VALUES,
        "system": VALUES,
        "instructions": VALUES,
        "metadata": VALUES,
        "user": VALUES,
        "stream": VALUES,
        "stream_options": VALUES,
    },
)


@settings(max_examples=300, deadline=None)
@given(BODIES)
def test_any_body_is_understood_or_refused(body: dict[str, Any]) -> None:
    for decode in DECODERS:
        try:
            assert isinstance(decode(body), Decoded)
        except WireError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (wire_messages.decode, {"role": "user", "content": [{"type": "image", "source": [1]}]}),
        (wire_messages.decode, {"role": "user", "content": [{"type": "image", "source": {"data": 5}}]}),
        (wire_messages.decode, {"role": "user", "content": 5}),
        (wire_chat.decode, {"role": "assistant", "tool_calls": [{"function": "x"}]}),
        (wire_chat.decode, {"role": ["user"]}),
        (wire_chat.decode, {"role": "tool", "tool_call_id": []}),
    ],
)
def test_values_of_the_wrong_kind_are_refused(decode: Any, message: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode({"model": "m", "max_tokens": 9, "messages": [message]})


def test_the_same_conversation_reads_the_same_in_all_dialects() -> None:
    schema = {"type": "object", "properties": {}}
    chat = wire_chat.decode(
        {
            "model": "m",
            "tools": [{"function": {"name": "t", "description": "d", "parameters": schema}}],
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [
                    {"type": "text", "text": "u"},
                    {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,QQ=="}},
                ]},
                {"role": "assistant", "content": "a", "reasoning_content": "r", "tool_calls": [
                    {"id": "c", "function": {"name": "t", "arguments": '{"k": 1}'}}
                ]},
                {"role": "tool", "tool_call_id": "c", "content": "o"},
            ],
        }
    )  # fmt: skip
    responses = wire_responses.decode(
        {
            "model": "m",
            "instructions": "s",
            "tools": [{"type": "function", "name": "t", "description": "d", "parameters": schema}],
            "input": [
                {"role": "user", "content": [
                    {"type": "input_text", "text": "u"},
                    {"type": "input_image", "image_url": "data:image/jpeg;base64,QQ=="},
                ]},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "r"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
                {"type": "function_call", "call_id": "c", "name": "t", "arguments": '{"k": 1}'},
                {"type": "function_call_output", "call_id": "c", "output": "o"},
            ],
        }
    )  # fmt: skip
    messages = wire_messages.decode(
        {
            "model": "m",
            "max_tokens": 9,
            "system": [{"type": "text", "text": "s"}],
            "tools": [{"name": "t", "description": "d", "input_schema": schema}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "u"},
                    {"type": "image", "source": {"media_type": "image/jpeg", "data": "QQ=="}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "r", "signature": "x"},
                    {"type": "text", "text": "a"},
                    {"type": "tool_use", "id": "c", "name": "t", "input": {"k": 1}},
                ]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "o"}]},
            ],
        }
    )  # fmt: skip
    call = chat.request.messages[1]
    assert isinstance(call, AssistantMessage)
    assert chat.request.messages == (
        UserMessage((TextPart("u"), ImagePart("image/jpeg", data="QQ=="))),
        AssistantMessage("a", call.tool_calls, "r"),
        ToolMessage("c", "t", "o"),
    )
    assert chat.request.tools == (ToolDefinition("t", "d", schema),)
    for other in (responses, messages):
        assert other.request.messages == chat.request.messages
        assert (other.request.system, other.request.tools) == (chat.request.system, chat.request.tools)


@pytest.mark.parametrize(
    "encoder", [wire_chat.ChatEncoder, wire_responses.ResponsesEncoder, wire_messages.MessagesEncoder]
)
@pytest.mark.parametrize(
    "answer",
    [
        Answer(),
        Answer(text=("",)),
        Answer(text=("\ud800",), finish_reason="length"),
        Answer(calls=(AnswerCall("c", "t", ()),), finish_reason="tool_calls"),
        Answer(reasoning=("r",), finish_reason="content_filter"),
        Answer(text=("a",), finish_reason="missing"),
    ],
)
def test_odd_answers_can_be_written(encoder: Any, answer: Answer) -> None:
    decoded = wire_chat.decode({"model": "m", "messages": [{"role": "user", "content": "x"}]})
    written = encoder(answer, decoded, 1)
    assert written.whole()
    events = [
        *written.opening(),
        *(event for beat in answer.beats() for event in written.beat(beat)),
        *written.closing(),
    ]
    assert all(event.endswith(b"\n\n") for event in events)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}, {"a": "x"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"enum": ["first", "second"]}, "first"),
        ({"type": ["null", "string"]}, None),
        ({"type": "array", "default": [1]}, [1]),
    ],
)
def test_samples_fit_their_schema(schema: dict[str, Any], value: object) -> None:
    assert sample(schema) == value
