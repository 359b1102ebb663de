"""Server-sent events."""

from __future__ import annotations

from typing import NamedTuple


class Frame(NamedTuple):
    """An event: its name (empty for none) and its data, one line of text."""

    name: str
    data: str


DONE = Frame("", "[DONE]")


def encode(frame: Frame, number: int = 0) -> bytes:
    """The event's bytes; with a number (from 1) it can be asked for again by `Last-Event-ID`."""
    name, data = frame
    if number:
        head = f"id: {number}\nevent: {name}\n" if name else f"id: {number}\n"
        return f"{head}data: {data}\n\n".encode("utf-8", "replace")
    if name:
        return f"event: {name}\ndata: {data}\n\n".encode("utf-8", "replace")
    return f"data: {data}\n\n".encode("utf-8", "replace")
