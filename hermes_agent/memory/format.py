"""The text of MEMORY.md and USER.md: entries with a line `§` between them. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SEPARATOR = "\n§\n"

_BREAK = re.compile(r"^[ \t]*§[ \t]*$", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u2028\u2029\ufeff]")


def parse(text: str) -> tuple[str, ...]:
    """The entries of a file, also of one that was edited by hand.

    A line that holds nothing but `§` separates, whatever blanks or line ends surround it; empty entries
    are skipped. Everything else is kept as it is.
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return tuple(entry for part in _BREAK.split(lines) if (entry := part.strip()))


def render(entries: Iterable[str]) -> str:
    """The file for these entries; `parse` gives them back."""
    text = SEPARATOR.join(entries)
    return f"{text}\n" if text else ""


def size(entries: Sequence[str]) -> int:
    """Characters that count against the limit: entries and the separators between them."""
    return len(SEPARATOR.join(entries))


def clean(text: str) -> str:
    """One entry as it is stored: no control characters, no separator lines, no blank ends."""
    without = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    without = without.encode("utf-8", "replace").decode()
    return "\n".join(line for line in without.split("\n") if line.strip() != "§").strip()


def one_line(text: str, limit: int = 60) -> str:
    """The beginning of an entry, for lists."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
