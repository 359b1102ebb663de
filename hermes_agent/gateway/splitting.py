"""Cutting a long Markdown text into messages of a platform's size, without breaking code blocks.

Pure and deterministic: the same text and limit always give the same parts, so that a delivery that was
cut off goes on at the right one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_FENCE = re.compile(r"^ {0,3}(```+|~~~+)([^`\n]*)$")
_BREAKS = ("\n\n", "\n", ". ", "! ", "? ", "; ", ", ", " ")
_LEAST_SHARE = 0.4
"""A break is taken if it leaves a part at least this full."""


def split_text(text: str, limit: int, measure: Callable[[str], int] = len) -> list[str]:
    """Parts of at most `limit` units each; none if there is nothing to send.

    Args:
        text: Markdown.
        limit: Most units of one part; at least 16.
        measure: Units of a text; must not shrink when a text grows.
    """
    rest = text.strip("\n")
    if not rest.strip():
        return []
    limit = max(16, limit)
    parts: list[str] = []
    opening = ""
    while rest:
        whole = f"{opening}{rest}"
        if measure(whole) <= limit:
            parts.append(whole.rstrip())
            break
        closing_room = len(_closing(_open_fence(whole)) or "\n```")
        size = _fitting(opening, rest, limit - closing_room, measure)
        cut = _cut(rest, size)
        piece = f"{opening}{rest[:cut]}"
        fence = _open_fence(piece)
        parts.append(f"{piece.rstrip()}{_closing(fence)}" if fence else piece.rstrip())
        rest = rest[cut:]
        if fence:
            rest = rest.removeprefix("\n")
            opening = f"{fence}\n"
        else:
            rest = rest.lstrip("\n").removeprefix(" ")
            opening = ""
        if fence and re.fullmatch(r" {0,3}(```+|~~~+)\s*", rest):
            break  # only the end of the block is left, and it stands there already
    return [part for part in parts if part.strip()]


def _fitting(opening: str, rest: str, limit: int, measure: Callable[[str], int]) -> int:
    """Most characters of `rest` that fit behind `opening` (at least one)."""
    low, high = 1, len(rest)
    if measure(opening + rest[:1]) > limit:
        return 1
    while low < high:
        middle = (low + high + 1) // 2
        if measure(opening + rest[:middle]) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _cut(text: str, size: int) -> int:
    """Where to cut: behind the last good break within `size` characters."""
    if size >= len(text):
        return len(text)
    least = int(size * _LEAST_SHARE)
    for mark in _BREAKS:
        found = text.rfind(mark, least, size)
        if found > 0:
            return found + len(mark.rstrip(" \n")) if mark.strip() else found + (mark == "\n\n")
    return size


def _open_fence(text: str) -> str:
    """The opening line of a code block that is still open at the end; empty if none is."""
    current = ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match is None:
            continue
        if not current:
            current = line.strip()
        elif line.strip().startswith(_marks(current)) and not match[2].strip():
            current = ""
    return current


def _marks(fence: str) -> str:
    return fence[: len(fence) - len(fence.lstrip(fence[0]))]


def _closing(fence: str) -> str:
    return f"\n{_marks(fence)}" if fence else ""
