"""Earlier messages, as `/history` and a resumed chat show them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from rich.text import Text

from hermes_agent.agent.session import NOTE_PREFIX
from hermes_agent.cli.chat.blocks import BlockStream
from hermes_agent.cli.chat.painter import Painter, clean, clip
from hermes_agent.cli.chat.wording import shown_output
from hermes_agent.core.messages import AssistantMessage, Message, TextPart, ToolCall, ToolMessage, UserMessage


def history_rows(painter: Painter, messages: Sequence[Message], width: int) -> Iterator[str]:
    """Painted text, one piece per message."""
    is_first = True
    calls: dict[str, ToolCall] = {}
    for message in messages:
        if isinstance(message, AssistantMessage):
            calls.update((call.id, call) for call in message.tool_calls)
        text = (
            _tool(painter, message, calls.get(message.tool_call_id), width)
            if isinstance(message, ToolMessage)
            else "".join(_message(painter, message, width))
        )
        if text:
            yield text if is_first or isinstance(message, ToolMessage) else "\n" + text
            is_first = False


def _tool(painter: Painter, message: ToolMessage, call: ToolCall | None, width: int) -> str:
    """`✓ terminal ls -A · a.txt`: what was asked, and the first line of what came back."""
    mark, style = ("✗", "red") if message.is_error else ("✓", "green")
    room = max(20, width - len(message.tool_name) - 6)
    asked = clip(_subject(call), room // 2) if call is not None else ""
    first = clip(shown_output(message.text).strip().split("\n")[0], room - len(asked))
    text = Text.assemble(
        (f"{mark} ", style),
        (message.tool_name, "bold"),
        (f" {asked}" if asked else "", ""),
        (f" · {first}" if asked and first else f" {first}", "dim"),
    )
    return painter.paint(text, width)


def _subject(call: ToolCall) -> str:
    """The argument that says most: a command, a path, a question."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        return ""
    values = arguments.values() if isinstance(arguments, dict) else ()
    return next((" ".join(value.split()) for value in values if isinstance(value, str)), "")


def _message(painter: Painter, message: Message, width: int) -> Iterator[str]:
    if isinstance(message, UserMessage):
        texts = [part.text for part in message.parts if isinstance(part, TextPart)]
        said = clean("\n".join(text for text in texts if not text.startswith(NOTE_PREFIX)))
        if said.strip():
            yield painter.paint(Text("❯ " + said.replace("\n", "\n  "), style="bold"), width)
    elif isinstance(message, AssistantMessage) and message.text.strip():
        stream = BlockStream()
        stream.feed(message.text)
        for number, block in enumerate(stream.finish()):
            yield ("\n" if number and not block.continues else "") + painter.block(block, width)
        if message.finish_reason == "interrupted":
            yield painter.text("(interrupted)", width, "dim")
