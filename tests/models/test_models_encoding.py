"""The cache of encoded messages gives the same bytes as encoding anew."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.model import ModelRequest
from hermes_agent.models.encoding import ConversationEncoder, Group

POOL: list[Message] = [
    UserMessage.of("a"),
    UserMessage.of("b"),
    AssistantMessage("c"),
    AssistantMessage(""),
    AssistantMessage("", (ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}")), finish_reason="tool_calls"),
    ToolMessage("1", "f", "one"),
    ToolMessage("2", "g", "two"),
    AssistantMessage("d", (ToolCall("1", "f", "{}"),), finish_reason="tool_calls"),
]


def written(group: Group) -> Iterable[object]:
    if isinstance(group, AssistantMessage):
        return [["assistant", group.text, [call.id for call in group.tool_calls]]]
    found: list[object] = [["tool", result.tool_call_id, result.text] for result in group.results]
    return [*found, *(["user", user.text] for user in group.users)]


def encoder() -> ConversationEncoder:
    return ConversationEncoder(written, lambda _request: (b"", b""))


def encoded(used: ConversationEncoder, messages: list[Message]) -> list[bytes]:
    return used.encode(ModelRequest("", messages, session_id="s"))[2].items


@given(st.lists(st.lists(st.sampled_from(POOL), max_size=12), max_size=6))
def test_any_row_of_conversations_is_encoded_as_if_each_were_the_first(rows: list[list[Message]]) -> None:
    used = encoder()
    for messages in rows:
        assert encoded(used, messages) == encoded(encoder(), messages)


def test_a_conversation_that_ends_otherwise_reuses_what_is_the_same() -> None:
    count = 0

    def counted(group: Group) -> Iterable[object]:
        nonlocal count
        count += 1
        return written(group)

    used = ConversationEncoder(counted, lambda _request: (b"", b""))
    history: list[Message] = [UserMessage.of("a"), AssistantMessage("b")] * 100
    encoded(used, [*history, UserMessage.of("x")])
    count = 0
    encoded(used, [*history, UserMessage.of("y")])
    assert count <= 2
