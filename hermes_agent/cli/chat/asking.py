"""How the chat asks for approvals and shows questions."""

from __future__ import annotations

import time

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from hermes_agent.cli.chat.painter import Painter, clean
from hermes_agent.cli.chat.screen import Screen
from hermes_agent.core.approvals import ApprovalRequest, Decision, Question

MAX_PANEL_LINES = 12
KEYS: dict[str, str] = {
    "o": "once",
    "y": "once",
    "s": "session",
    "a": "always",
    "d": "deny",
    "n": "deny",
    "\x1b": "deny",
}
_LABELS = (("o", "once"), ("s", "this session"), ("a", "always"), ("d", "deny"))


async def ask_approval(
    screen: Screen, painter: Painter, request: ApprovalRequest, deadline: float
) -> Decision:
    """Show the exact action and its risks, and wait for a key.

    A long action is put into the scrollback whole, so that all of it can be read before deciding.
    """
    lines = clean(request.action).split("\n")
    is_long = len(lines) > MAX_PANEL_LINES
    if is_long:
        screen.commit(painter.text(f"\nTo be approved ({request.tool_name}):", screen.width, "yellow"))
        screen.commit(painter.text(clean(request.action), screen.width, indent=4))
        lines = [*lines[:4], f"… {len(lines) - 4} more lines, all of them above"]

    def paint(width: int) -> str:
        return painter.paint(_panel(request, lines, deadline - time.monotonic(), width), width)

    answer = await screen.ask_key(paint, KEYS)
    decision: Decision = answer  # type: ignore[assignment]
    return decision


def _panel(request: ApprovalRequest, lines: list[str], seconds_left: float, width: int) -> Group:
    head = Text.assemble(("\n⚠ ", "yellow bold"), (f"Run this? ({request.tool_name})", "yellow bold"))
    action = Padding(Text("\n".join(lines), style="bold", overflow="fold"), (0, 0, 0, 4))
    reasons = Padding(
        Text("; ".join(clean(reason) for reason in request.reasons), style="yellow"), (0, 0, 0, 4)
    )
    keys = Text("  ")
    for key, label in _LABELS:
        keys.append(f"[{key}]", "bold")
        keys.append(f" {label}  ")
    left = max(0, int(seconds_left + 0.99))
    keys.append(f"{'denied in ' if width >= 60 else ''}{left}s", "dim" if left > 10 else "red")
    return Group(head, action, reasons, keys)


def question_text(painter: Painter, question: Question, width: int) -> str:
    """A question and its choices."""
    rows = [Text.assemble(("? ", "cyan bold"), (clean(question.text), "bold"))]
    for number, choice in enumerate(question.choices, 1):
        rows.append(Text.assemble((f"  {number} ", "cyan"), clean(choice)))
    return painter.paint(Group(*rows), width)
