"""Earlier messages, as `/history` and a resumed chat show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from hermes_agent.agent.session import NOTE_PREFIX
from hermes_agent.cli.chat.blocks import BlockStream
from hermes_agent.cli.chat.painter import Painter, clean, clip
from hermes_agent.core.messages import AssistantMessage, Message, TextPart, ToolMessage, UserMessage


def history_rows(painter: Painter, messages: Sequence[Message], width: int) -> Iterator[str]:
    """Painted text, one piece per message."""
    is_first = True
    for message in messages:
        text = "".join(_message(painter, message, width))
        if text:
            yield text if is_first or isinstance(message, ToolMessage) else "\n" + text
            is_first = False


def _message(painter: Painter, message: Message, width: int) -> Iterator[str]:
    if isinstance(message, UserMessage):
        texts = [part.text for part in message.parts if isinstance(part, TextPart)]
        said = clean("\n".join(text for text in texts if not text.startswith(NOTE_PREFIX)))
        if said.strip():
            yield painter.paint(Text("❯ " + said.replace("\n", "\n  "), style="bold"), width)
    elif isinstance(message, ToolMessage):
        mark, style = ("✗", "red") if message.is_error else ("✓", "green")
        first = clip(message.text.strip().split("\n")[0], max(10, width - len(message.tool_name) - 6))
        yield painter.paint(
            Text.assemble((f"{mark} ", style), (message.tool_name, "bold"), (f" {first}", "dim")), width
        )
    elif isinstance(message, AssistantMessage) and message.text.strip():
        stream = BlockStream()
        stream.feed(message.text)
        for number, block in enumerate(stream.finish()):
            yield ("\n" if number and not block.continues else "") + painter.block(block, width)
        if message.finish_reason == "interrupted":
            yield painter.text("(interrupted)", width, "dim")
