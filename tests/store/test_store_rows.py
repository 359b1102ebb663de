from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_agent.core.errors import SessionNotFoundError
from hermes_agent.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from hermes_agent.store import SqliteStore
from hermes_agent.store.rows import COLUMNS, calls_of, content_text, decode, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(st.builds(ToolCall, TEXT.filter(bool), TEXT.filter(bool), TEXT), max_size=3).map(tuple)
IMAGES = st.builds(ImagePart, st.just("image/jpeg"), data=st.just("QUJD"), url=st.none()) | st.builds(
    ImagePart, st.just("image/png"), data=st.none(), url=st.just("https://example.com/a.png")
)
PROVIDER_KEYS = st.sampled_from(
    ["reasoning_details", "codex_reasoning_items", "codex_message_items", "reasoning_content", "signature"]
)
MESSAGES = (
    st.builds(UserMessage, st.lists(st.builds(TextPart, TEXT) | IMAGES, min_size=1, max_size=3).map(tuple))
    | st.builds(
        AssistantMessage,
        TEXT.filter(lambda text: not text.startswith(("[{", "\x00json:"))),
        CALLS,
        st.none() | TEXT,
        st.none() | st.dictionaries(PROVIDER_KEYS, JSON, max_size=3),
        st.sampled_from(["stop", "length", "tool_calls", "content_filter", "error", "interrupted"]),
    )
    | st.builds(ToolMessage, TEXT, TEXT, TEXT, st.lists(IMAGES, max_size=2).map(tuple), st.booleans())
)


@given(MESSAGES)
def test_every_message_survives_a_row(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages=st.lists(MESSAGES, min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
async def test_every_message_survives_the_database(store: SqliteStore, messages: list[Message]) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, messages)
    assert [item.message for item in await store.messages(record.id)] == messages


@pytest.mark.parametrize(
    "text", ['[{"type":"text","text":"x"}]', '\x00json:["a"]', "[{", "[{}]", "\x00", "a\x00b", "", "\r\n"]
)
async def test_text_that_looks_like_stored_parts_stays_text(store: SqliteStore, text: str) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of(text)])
    assert [item.message for item in await store.messages(record.id)] == [UserMessage.of(text)]


@pytest.mark.parametrize("text", ['[{"type":"text","text":"x"}]', "[{", "\x00json:[]"])
def test_answers_and_results_that_look_like_parts_stay_text(text: str) -> None:
    for message in (AssistantMessage(text), ToolMessage("c", "t", text)):
        assert decode(encode(message)) == message


async def test_lone_surrogates_are_stored(store: SqliteStore) -> None:
    record = await store.create(source="cli", model_config={"\udc80": 1})
    messages = [
        UserMessage.of("a \udc80 b"),
        AssistantMessage("c \ud800", (ToolCall("1", "t", '"\udfff"'),), provider_data={"x": "\udc80"}),
        ToolMessage("1", "t", "\udc80"),
    ]
    await store.append(record.id, messages)
    await store.append_draft(record.id, "text", "\udc80")
    stored = [item.message for item in await store.messages(record.id)]
    assert stored[:3] == messages
    assert len(await store.search("c")) == 1
    await store.update(record.id, title="\udc80 title", system_prompt="p\udc80", cwd="/tmp/\udcff")
    with pytest.raises(SessionNotFoundError):
        await store.resolve("\udcff")


def row(**values: Any) -> tuple[Any, ...]:
    return tuple(values.get(column) for column in COLUMNS)


def test_older_content_with_parts_is_understood() -> None:
    content = (
        '[{"type":"text","text":"what is this?"},'
        '{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,QUJD"}}]'
    )
    expected = UserMessage((TextPart("what is this?"), ImagePart("image/jpeg", "QUJD")))
    assert decode(row(role="user", content=content)) == expected
    assert decode(row(role="user", content="\x00json:" + content)) == expected
    assert content_text(content) == "what is this?"


@pytest.mark.parametrize(
    ("tool_calls", "expected"),
    [
        ('[{"id":"a","function":{"name":"t","arguments":"{}"}}]', (ToolCall("a", "t", "{}"),)),
        ('[{"id":"a","function":{"name":"t","arguments":{"x":1}}}]', (ToolCall("a", "t", '{"x":1}'),)),
        ('[{"call_id":"b","name":"t","arguments":"{}"}]', (ToolCall("b", "t", "{}"),)),
        ('{"id":"a","function":{"name":"t"}}', (ToolCall("a", "t", ""),)),
        ('[{"function":{"name":"t"}}, 5, null, {"id":"x"}]', (ToolCall("call_0", "t", ""),)),
        ("not json", ()),
        ("5", ()),
        ("[" * 100_000, ()),
        (b"\xff\xfe", ()),
        (7, ()),
        (None, ()),
    ],
)
def test_odd_tool_calls_are_read_as_far_as_they_make_sense(
    tool_calls: object, expected: tuple[ToolCall, ...]
) -> None:
    assert calls_of(tool_calls) == expected


VALUES = (
    st.none() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20) | JSON.map(str)
)


@given(st.sampled_from(["user", "assistant", "tool", "system", "", 5, None]), st.data())
def test_no_row_is_an_error(role: object, data: st.DataObject) -> None:
    values = data.draw(st.lists(VALUES, min_size=len(COLUMNS) - 1, max_size=len(COLUMNS) - 1))
    message = decode((role, *values))
    assert message is None or role in ("user", "assistant", "tool")


async def test_garbled_rows_do_not_keep_a_session_from_being_used(store: SqliteStore) -> None:
    record = await store.create(source="cli", title="odd")
    await store.append(record.id, [UserMessage.of("sound")])
    await store.aclose()
    connection = sqlite3.connect(store.path)
    insert = "INSERT INTO messages (session_id, role, content, tool_calls, timestamp) VALUES (?, ?, ?, ?, ?)"
    connection.execute(insert, (record.id, "assistant", b"\xff\xfe", "{broken", 1.0))
    connection.execute(
        "INSERT INTO messages (session_id, role, content, timestamp)"
        " VALUES (?, 'user', CAST(x'ff41fe' AS TEXT), 'yesterday')",
        (record.id,),
    )
    connection.execute(insert, (record.id, "system", "You are…", None, 2.0))
    connection.execute(insert, (record.id, "tool", None, None, 3.0))
    connection.execute(
        "UPDATE sessions SET model_config = '{broken', message_count = 'many', started_at = 'x'"
    )
    connection.commit()
    connection.close()
    from hermes_agent.store import open_store

    again = await open_store(store.path)
    loaded = [item.message for item in await again.messages(record.id)]
    assert [type(message) for message in loaded] == [UserMessage, AssistantMessage, UserMessage, ToolMessage]
    assert loaded[2] == UserMessage.of("\ufffdA\ufffd")
    shown = await again.get(record.id)
    assert (shown.model_config, shown.message_count, shown.started_at) == ({}, 0, 0.0)
    await again.append(record.id, [UserMessage.of("goes on")])
    assert len(await again.search("goes on")) == 1
    assert [item.id for item in await again.list()] == [record.id]
    await again.aclose()
