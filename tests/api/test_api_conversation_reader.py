"""Bodies read by what is new in them give the same as bodies read whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_agent.agent.tokens import estimate
from hermes_agent.api.call import no_constant, parse_object
from hermes_agent.api.content import MessageCache, read_messages
from hermes_agent.api.conversation_reader import Body, ConversationReader
from hermes_agent.api.errors import ApiError

FILL = "some words that make the body long enough to be remembered " * 80


def reader() -> ConversationReader:
    return ConversationReader(parse_object, no_constant, MessageCache())


def whole(raw: bytes) -> tuple[Any, Any]:
    return read_messages(json.loads(raw)["messages"], "messages", MessageCache())


def talk(count: int) -> list[dict[str, Any]]:
    return [
        {"role": "assistant" if number % 2 else "user", "content": f"{number} {FILL}"}
        for number in range(count)
    ]


def check(read: Body, raw: bytes) -> None:
    fields = json.loads(raw)
    assert read.conversation is not None
    messages, instructions = whole(raw)
    assert read.conversation.messages == messages
    assert read.conversation.instructions == instructions
    assert read.conversation.tokens == estimate(messages)
    assert {**read.fields, "messages": 0} == {**fields, "messages": 0}


@pytest.mark.parametrize("ending", ["}", ', "stream": true}', ' , "n":1\n}\n'])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_growing_conversation_is_read_right_each_time(ending: str, indent: int | None) -> None:
    tested = reader()
    for count in (1, 3, 5, 5, 9, 3, 11):
        text = json.dumps({"model": "m", "messages": talk(count)}, indent=indent).rstrip()[:-1]
        raw = (text.rstrip() + ending).encode()
        read = tested.read(raw)
        check(read, raw)


def test_messages_of_the_common_beginning_are_the_same_objects() -> None:
    tested = reader()
    first = tested.read(json.dumps({"messages": talk(5)}).encode()).conversation
    second = tested.read(json.dumps({"messages": talk(7)}).encode()).conversation
    assert first is not None and second is not None
    assert all(one is other for one, other in zip(first.messages, second.messages, strict=False))
    assert len(first.messages) == 5


def test_branches_and_tool_calls_keep_to_themselves() -> None:
    tested = reader()
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    base = [{"role": "system", "content": "be brief"}, *talk(2)]
    asked = [*base, {"role": "user", "content": "now"}, {"role": "assistant", "tool_calls": [call]}]
    for end in ("one", "two", "one"):
        answered = [*asked, {"role": "tool", "tool_call_id": "c1", "content": end}]
        raw = json.dumps({"messages": [*answered, {"role": "user", "content": end}]}).encode()
        check(tested.read(raw), raw)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "\\"messages\\": [", "messages": [%s]}',
        '{"metadata": {"messages": [%s]}, "messages": []}',
        '{"messages": [%s], "messages": []}',
        '{"messages": [%s], "messages": [{"role": "user", "content": "later"}]}',
        '[{"messages": [%s]}]',
        '{"messages": [%s',
        '{"messages": [%s]} x',
        '{"messages": [%s,]}',
        '{"messages": [,%s]}',
        '{"messages": [%s %s]}',
        '{"messages": [%s], "x": NaN}',
        '{"messages": [%s, NaN]}',
        '{"messages": %s}',
    ],
)
def test_what_is_odd_is_read_whole_and_said_properly(text: str) -> None:
    tested = reader()
    item = json.dumps({"role": "user", "content": FILL})
    raw = text.replace("%s", item).encode()
    for _ in range(2):
        try:
            expected: Any = parse_object(raw)
            wanted = read_messages(expected["messages"], "messages", MessageCache())[0]
        except ApiError as error:
            expected, wanted = error.message, None
        try:
            read = tested.read(raw)
            found = read.fields if read.conversation is None else {**read.fields, "messages": wanted}
            if read.conversation is not None:
                assert read.conversation.messages == wanted
            elif wanted is not None:
                assert found == expected
            else:
                with pytest.raises(ApiError):
                    read_messages(read.fields["messages"], "messages", MessageCache())
        except ApiError as error:
            assert wanted is None
            assert error.message == expected


_TEXTS = st.text(max_size=20).map(lambda text: text + FILL)
_MESSAGES = st.lists(
    st.builds(
        lambda role, text: {"role": role, "content": text},
        st.sampled_from(["user", "assistant", "system"]),
        _TEXTS,
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_MESSAGES, min_size=1, max_size=5), st.booleans())
def test_any_bodies_one_after_the_other_are_read_right(bodies: list[Any], is_ascii: bool) -> None:
    tested = reader()
    grown: list[Any] = []
    for body in bodies:
        for messages in (body, grown := [*grown, *body]):
            raw = json.dumps({"messages": messages, "stream": True}, ensure_ascii=is_ascii).encode(
                "utf-8", "surrogatepass"
            )
            check(tested.read(raw), raw)
