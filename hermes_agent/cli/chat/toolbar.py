"""The line at the bottom of the chat: model, context, directory and what is unusual."""

from __future__ import annotations

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.utils import get_cwidth

from hermes_agent.agent.session import Session
from hermes_agent.cli.chat.wording import tokens
from hermes_agent.cli.output import short_path


def context_text(used: int, window: int) -> str:
    """`ctx 34% of 128k`: how full the context window is."""
    share = min(100, round(100 * used / window)) if window else 0
    return f"ctx {share}% of {tokens(window)}"


def toolbar(session: Session, width: int, *, context_tokens: int, waiting: int) -> StyleAndTextTuples:
    """The line, as wide as it fits; the least important parts go first."""
    info = session.model.info
    used = context_tokens or session.context_tokens
    label = "demo model (offline)" if info.is_demo else info.label
    parts: list[tuple[int, str, str]] = [(0, "class:toolbar", label)]
    if used:
        parts.append((2, "class:toolbar", context_text(used, info.context_window)))
    parts.append((3, "class:toolbar", short_path(session.scope.environment.cwd)))
    if session.gate.is_yolo:
        parts.append((0, "class:toolbar.warning", "YOLO"))
    if waiting:
        parts.append((1, "class:toolbar.warning", f"{waiting} waiting"))
    if session.scope.environment.name != "local":
        parts.append((1, "class:toolbar", session.scope.environment.name))
    while len(parts) > 1 and _width(parts) > width:
        parts.remove(max(parts, key=lambda part: part[0]))
    line: StyleAndTextTuples = []
    for index, (_rank, style, text) in enumerate(parts):
        line.append(("class:toolbar", "  " if index == 0 else " · "))
        line.append((style, text))
    return line


def _width(parts: list[tuple[int, str, str]]) -> int:
    return sum(get_cwidth(text) + 3 for _rank, _style, text in parts)
