"""Earlier messages, as `/history` and a resumed chat show them."""

from __future__ import annotations

import pytest

from hermes_agent.cli.chat.history_view import history_rows
from hermes_agent.cli.chat.painter import Painter, clean
from hermes_agent.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage

PAINTER = Painter(color=False, environ={})


def test_tool_calls_are_shown_with_their_subject_and_output_not_as_json() -> None:
    call = ToolCall("1", "terminal", '{"command": "ls  -A"}')
    result = ToolMessage("1", "terminal", '{"output": "a.txt\\nb.txt\\n", "exit_code": 0, "error": null}')
    messages = [UserMessage.of("list"), AssistantMessage(tool_calls=(call,)), result]
    shown = clean("".join(history_rows(PAINTER, messages, 80)))
    assert "✓ terminal ls -A · a.txt\n" in shown


@pytest.mark.parametrize("arguments", ["", "{broken", "[1]", "{}", '{"n": 1}'])
def test_odd_arguments_leave_the_output(arguments: str) -> None:
    messages = [
        AssistantMessage(tool_calls=(ToolCall("1", "todo", arguments),)),
        ToolMessage("1", "todo", "nothing to do"),
        ToolMessage("2", "todo", "nobody asked", is_error=True),
    ]
    assert (
        clean("".join(history_rows(PAINTER, messages, 80))) == "✓ todo nothing to do\n✗ todo nobody asked\n"
    )
