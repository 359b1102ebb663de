"""The loopback platform shows Markdown as it is written."""

from __future__ import annotations


def to_platform(markdown: str) -> str:
    """Nothing to translate."""
    return markdown
