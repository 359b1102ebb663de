"""Output of programs as plain text: without colours, cursor movements and overwritten lines."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links
    r"|[PX^_][^\x1b]*\x1b\\"  # other strings
    r"|[ -/]*[0-~]"  # two-character sequences
    r")"
)
_BACKSPACED = re.compile(r"[^\x08\n]\x08")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")


def plain_text(text: str, *, is_terminal: bool = False) -> str:
    """Remove what only makes sense on a screen.

    Args:
        text: What a program wrote.
        is_terminal: It wrote to a terminal: line ends are `\\r\\n`, and after a lone `\\r` a line is
            written anew (progress bars), so that only the last state of it counts.
    """
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    if is_terminal:
        text = text.replace("\r\n", "\n")
        text = "\n".join(_last_state(line) if "\r" in line else line for line in text.split("\n"))
        if "\x08" in text:
            text = _BACKSPACED.sub("", text)
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def _last_state(line: str) -> str:
    states = [state for state in line.split("\r") if state]
    return states[-1] if states else ""
