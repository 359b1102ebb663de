"""Markdown as the agent writes it to what Discord shows: no tables, no deep headings, no images."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from hermes_agent.gateway.platforms.tables import padding, table_rows, text_table

MAX_TEXT = 2000
_PARSER = MarkdownIt("commonmark").enable("table")
_CANDIDATE = re.compile(r"\||^ {0,3}#{4,}|^ {0,3}[-=_*][-=_* ]{1,}$|!\[", re.MULTILINE)
"""Without any of these nothing needs to be translated, and nothing is parsed."""
_DEEPEST_HEADING = 3
_RULE = re.compile(r"^ {0,3}([-*_] *){3,}$", re.MULTILINE)
_RULE_GAIN = 7


def to_discord(markdown: str) -> str:
    """Discord's own dialect; what it shows like everybody else is left as it is."""
    if not _CANDIDATE.search(markdown):
        return markdown
    lines = markdown.split("\n")
    tokens = _PARSER.parse(markdown)
    for start, end, replacement in reversed(_changes(tokens, lines)):
        lines[start:end] = replacement
    return "\n".join(lines)


def measure(text: str) -> int:
    """UTF-16 units, at least those after translation. It is asked often: nothing is parsed.

    Discord's apps count these, its API perhaps characters: what keeps the larger count keeps both.
    """
    if len(text) > 2 * MAX_TEXT:  # too long in any case: no need to look closer
        return len(text)
    return _units(text) + padding(text) + _RULE_GAIN * len(_RULE.findall(text))


def fitting(markdown: str) -> str:
    """Translated, unless only the untranslated text keeps the limit."""
    text = to_discord(markdown)
    return text if _units(text) <= MAX_TEXT else markdown


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _changes(tokens: Sequence[Token], lines: Sequence[str]) -> list[tuple[int, int, list[str]]]:
    """Line ranges to replace, in order."""
    found: list[tuple[int, int, list[str]]] = []
    for index, token in enumerate(tokens):
        if token.map is None:
            continue
        start, end = token.map
        if token.type == "inline" and not _is_in_table(tokens, index):
            if _has_image(token):
                found.append((start, end, [line.replace("![", "[") for line in lines[start:end]]))
        elif token.level:
            continue
        elif token.type == "table_open":
            close = next(place for place in range(index, len(tokens)) if tokens[place].type == "table_close")
            table = text_table(table_rows(tokens[index:close]))
            found.append((start, end, ["```", *table.split("\n"), "```"]))
        elif token.type == "heading_open":
            found += _heading(token, tokens[index + 1])
        elif token.type == "hr":
            found.append((start, end, ["──────────"]))
    return [change for change in found if not _overlaps(change, found)]


def _heading(token: Token, content: Token) -> list[tuple[int, int, list[str]]]:
    assert token.map is not None
    depth = int(token.tag[1])
    if depth > _DEEPEST_HEADING:
        text = content.content.replace("**", "").replace("![", "[")
        return [(*token.map, [f"**{text}**"])] if text else []  # type: ignore[list-item]
    if token.markup in ("=", "-"):
        return [(*token.map, [f"{'#' * depth} {' '.join(content.content.splitlines())}"])]  # type: ignore[list-item]
    return []


def _has_image(token: Token) -> bool:
    children = token.children or ()
    return any(child.type == "image" for child in children) and not any(
        child.type == "code_inline" and "![" in child.content for child in children
    )


def _is_in_table(tokens: Sequence[Token], index: int) -> bool:
    return index > 0 and tokens[index - 1].type in ("th_open", "td_open")


def _overlaps(change: tuple[int, int, list[str]], others: Sequence[tuple[int, int, list[str]]]) -> bool:
    """Whether an earlier one (of the block around it) covers the same lines."""
    for other in others:
        if other is change:
            return False
        if other[0] <= change[0] < other[1]:
            return True
    return False
