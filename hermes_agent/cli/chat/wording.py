"""Numbers and results as people read them. Standard library only: the plain renderer uses it too."""

from __future__ import annotations

import json


def seconds(value: float) -> str:
    """`0.4s`, `12s`, `3m 05s`, `1h 02m`."""
    if value < 10:
        return f"{value:.1f}s"
    whole = int(value)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def tokens(value: int) -> str:
    """`950`, `12.3k`, `1.2M`."""
    if value < 1_000:
        return str(value)
    if value < 100_000:
        return f"{value / 1_000:.1f}k"
    if value < 1_000_000:
        return f"{value // 1_000}k"
    return f"{value / 1_000_000:.1f}M"


def count(value: int, noun: str) -> str:
    """`1 line`, `2 lines`."""
    return f"{value} {noun}" if value == 1 else f"{value} {noun}s"


def ago(elapsed_seconds: float) -> str:
    """`just now`, `5 min ago`, `3 h ago`, `2 days ago`."""
    if elapsed_seconds < 60:
        return "just now"
    if elapsed_seconds < 3600:
        return f"{int(elapsed_seconds // 60)} min ago"
    if elapsed_seconds < 86_400:
        return f"{int(elapsed_seconds // 3600)} h ago"
    return f"{count(int(elapsed_seconds // 86_400), 'day')} ago"


def shown_output(text: str) -> str:
    """What a person wants of a result: the output of a command without the JSON around it."""
    if not text.startswith("{"):
        return text
    try:
        parsed = json.loads(text)
    except ValueError:
        return text
    if not isinstance(parsed, dict) or not isinstance(parsed.get("output"), str):
        return text
    error = parsed.get("error")
    return "\n".join(
        part for part in (parsed["output"].rstrip("\n"), error) if isinstance(part, str) and part
    )
