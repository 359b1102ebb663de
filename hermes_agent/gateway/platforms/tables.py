"""Markdown tables as aligned text, for platforms that show none."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from markdown_it.token import Token

_WIDEST_CELL = 60


def table_rows(tokens: Sequence[Token]) -> list[list[str]]:
    """The cells of a table's tokens (`table_open` to `table_close`) as plain text."""
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            rows[-1].append(plain_text(token))
    return rows


def plain_text(token: Token) -> str:
    """The text of an inline token without its marks."""
    parts: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif child.type == "image":
            parts.append(child.content)
    return "".join(parts)


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, a line under the head."""
    count = max((len(row) for row in rows), default=0)
    whole = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [
        min(_WIDEST_CELL, max((_width(row[column]) for row in whole), default=0)) for column in range(count)
    ]
    lines = [
        "  ".join(cell + " " * max(0, width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        for row in whole
    ]
    if len(lines) > 1:
        lines.insert(1, "  ".join("-" * max(1, width) for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def padding(markdown: str) -> int:
    """At least the characters that tables in a text gain when they are aligned; quick, nothing is parsed."""
    if "|" not in markdown:
        return 0
    gained, rows = 0, list[list[str]]()
    for line in [*markdown.split("\n"), ""]:
        if "|" in line:
            rows.append([cell.strip() for cell in line.split("|")])
        elif rows:
            gained += _padding(rows)
            rows = []
    return gained


def _padding(rows: Sequence[Sequence[str]]) -> int:
    count = max(map(len, rows))
    widths = [max(_width(row[column]) for row in rows if column < len(row)) for column in range(count)]
    whole = sum(min(_WIDEST_CELL, width) + 2 for width in widths)
    fences_and_line = 8 + whole
    return fences_and_line + sum(max(0, whole - sum(map(_width, row))) for row in rows)


def _width(text: str) -> int:
    """Columns of a terminal: East Asian characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )
