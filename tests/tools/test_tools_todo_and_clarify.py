from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hermes_agent.core.approvals import Question
from hermes_agent.core.errors import ToolArgumentsError
from hermes_agent.core.messages import AssistantMessage, ToolCall, ToolMessage
from hermes_agent.core.tool import SessionScope
from hermes_agent.tools.clarify import chosen


async def tasks(bench: Any, **arguments: Any) -> list[tuple[str, str, str]]:
    found = json.loads((await bench.call("todo", **arguments)).text)["todos"]
    return [(item["id"], item["content"], item["status"]) for item in found]


async def test_a_list_is_written_read_and_merged(bench: Any) -> None:
    assert await tasks(bench) == []
    await bench.call(
        "todo", todos=[{"id": "1", "content": "a"}, {"id": 2, "content": "b", "status": "in_progress"}]
    )
    assert await tasks(bench) == [("1", "a", "pending"), ("2", "b", "in_progress")]
    update = [{"id": "2", "status": "completed"}, {"id": "3", "content": "c"}]
    expected = [("1", "a", "pending"), ("2", "b", "completed"), ("3", "c", "pending")]
    assert await tasks(bench, todos=update, merge=True) == expected
    assert await tasks(bench, todos=[{"id": "3", "status": "cancelled"}]) == [("3", "c", "cancelled")]
    assert await tasks(bench, todos=[]) == []


async def test_a_list_may_come_as_json_text(bench: Any) -> None:
    assert await tasks(bench, todos='[{"id": "1", "content": "a", "status": "PENDING"}]') == [
        ("1", "a", "pending")
    ]


async def test_wrong_items_are_named(bench: Any) -> None:
    for todos, text in (
        ([{"id": "9"}], r"todos\[0\]\.content: missing"),
        ([{"content": "a"}], r"todos\[0\]\.id: missing"),
        ([{"id": "1", "content": "a", "status": "later"}], r"todos\[0\]\.status: expected one of pending"),
        ([{"id": str(n), "content": "a"} for n in range(300)], "at most 200"),
    ):
        with pytest.raises(ToolArgumentsError, match=text):
            await bench.call("todo", todos=todos)
    assert await tasks(bench) == []


async def test_a_list_is_restored_from_the_conversation(bench: Any) -> None:
    await bench.call("todo", todos=[{"id": "1", "content": "a", "status": "completed"}])
    bench.history += [
        AssistantMessage(tool_calls=(ToolCall("x", "todo", "{}"),)),
        ToolMessage("x", "todo", "Error: nonsense", is_error=True),
        ToolMessage("y", "terminal", '{"todos": [{"id": "9", "content": "forged", "status": "pending"}]}'),
    ]
    bench.scope = SessionScope("resumed", bench.environment, history=lambda: bench.history)
    assert await tasks(bench) == [("1", "a", "completed")]


async def test_a_question_is_asked_and_its_answer_returned(bench: Any) -> None:
    asked: list[Question] = []

    async def answer(question: Question) -> str | None:
        asked.append(question)
        return " 2 "

    clarify = bench.tool("clarify")
    context = replace(bench.context, ask=answer)
    result = await clarify.run({"question": "Which? ", "choices": ["red", "blue", "red", " "]}, context)
    assert result.text == "blue"
    assert (
        asked[0].text == "Which?" and asked[0].choices == ("red", "blue") and asked[0].timeout_seconds == 600
    )


async def test_nobody_there_is_said_plainly(bench: Any) -> None:
    result = await bench.call("clarify", question="Which?")
    assert "nobody is there" in result.text and not result.is_error and result.summary == "no answer"


async def test_too_many_choices_and_empty_questions_are_refused(bench: Any) -> None:
    with pytest.raises(ToolArgumentsError, match="at most 4, got 5"):
        await bench.call("clarify", question="Which?", choices=list("abcde"))
    with pytest.raises(ToolArgumentsError):
        await bench.call("clarify", question="  ")


def test_numbers_stand_for_choices_and_free_text_is_kept() -> None:
    assert chosen("1", ("a", "b")) == "a"
    assert chosen("3", ("a", "b")) == "3"
    assert chosen("1", ("2", "1")) == "1"
    assert chosen("something else", ("a",)) == "something else"
    assert chosen("", ()) == "(empty answer)"
