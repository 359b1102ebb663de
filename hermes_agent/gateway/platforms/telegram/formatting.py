"""Markdown to the HTML that Telegram understands: a handful of inline tags, `pre` and `blockquote`."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from hermes_agent.agent.commands import commands_for

MAX_UNITS = 4096
"""Of a message, in UTF-16 units, without the tags."""

_WIDEST_TABLE = 44
"""Columns of a table that a telephone shows without wrapping; wider ones become a list."""

_TAG = re.compile(r"<(/?)([a-z-]+)[^>]*>")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,40}")
_SCHEMES = ("http://", "https://", "tg://", "mailto:", "tel:")
_BARS = "\ue000"
"""Stands for `||` until it is known whether it encloses a spoiler."""
_SPOILER = re.compile(rf"{_BARS}(?!\s)([^{_BARS}]+?)(?<!\s){_BARS}")


def measure(text: str) -> int:
    """UTF-16 units of a Markdown text: what Telegram shows of it is never longer (`to_html` sees to that)."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def to_html(markdown: str) -> str | None:
    """The text for `parse_mode: HTML`; None if it must be sent as plain text (too long, nothing visible)."""
    text = _Renderer().blocks(SyntaxTreeNode(_parser().parse(markdown)))
    visible = html.unescape(_TAG.sub("", text))
    return text if visible.strip() and measure(visible) <= MAX_UNITS else None


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


@lru_cache(maxsize=1)
def _commands() -> frozenset[str]:
    return frozenset(f"/{spec.name}" for spec in commands_for("gateway"))


class _Renderer:
    """Walks the tree; every method returns HTML."""

    def __init__(self) -> None:
        self._in_quote = False

    def blocks(self, node: SyntaxTreeNode, between: str = "\n\n") -> str:
        return between.join(text for child in node.children if (text := self.block(child)))

    def block(self, node: SyntaxTreeNode, depth: int = 0) -> str:
        kind = node.type
        if kind == "heading":
            return f"<b>{self.children(node)}</b>"
        if kind in ("paragraph", "inline"):
            return self.inline(node) if kind == "inline" else self.children(node)
        if kind in ("fence", "code_block"):
            return _code(node)
        if kind in ("bullet_list", "ordered_list"):
            return self._list(node, depth)
        if kind == "blockquote":
            return self._quote(node)
        if kind == "table":
            return self._table(node)
        return "———" if kind == "hr" else _escaped(node.content)

    def children(self, node: SyntaxTreeNode) -> str:
        return "".join(self.inline(child) for child in node.children)

    def inline(self, node: SyntaxTreeNode) -> str:
        """The inline content of a block."""
        text = "".join(self._span(child) for child in node.children)
        while _BARS in text:
            changed = _SPOILER.sub(_spoiler, text)
            if changed == text:
                break
            text = changed
        return text.replace(_BARS, "||")

    def _span(self, node: SyntaxTreeNode) -> str:
        kind = node.type
        if kind == "text":
            return _escaped(node.content).replace("||", _BARS)
        if kind in ("softbreak", "hardbreak"):
            return "\n"
        if kind == "code_inline":
            text = _escaped(node.content)
            # Telegram lets people tap commands, but not in code.
            return text if text.split(" ", 1)[0] in _commands() else f"<code>{text}</code>"
        if kind == "image":
            address = str(node.attrs.get("src", ""))
            return _link(address, _escaped(node.content) or _escaped(address))
        inner = "".join(self._span(child) for child in node.children)
        if kind == "link":
            return _link(str(node.attrs.get("href", "")), inner)
        tag = {"strong": "b", "em": "i", "s": "s"}.get(kind)
        return f"<{tag}>{inner}</{tag}>" if tag and inner else inner or _escaped(node.content)

    def _quote(self, node: SyntaxTreeNode) -> str:
        if self._in_quote:  # Telegram knows no quotes in quotes
            return self.blocks(node, "\n")
        self._in_quote = True
        try:
            return f"<blockquote>{self.blocks(node, chr(10))}</blockquote>"
        finally:
            self._in_quote = False

    def _list(self, node: SyntaxTreeNode, depth: int) -> str:
        number = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else None
        lines: list[str] = []
        indent = "  " * depth
        for item in node.children:
            marker = "•" if number is None else f"{number}."
            blocks = [self.block(child, depth + 1) for child in item.children]
            head = blocks.pop(0) if item.children and item.children[0].type in ("paragraph", "inline") else ""
            for box, sign in (("[ ] ", "☐"), ("[x] ", "☑"), ("[X] ", "☑")):
                if head.startswith(box):
                    marker, head = sign, head.removeprefix(box)
            lines.append(f"{indent}{marker} {head}".rstrip())
            lines += [block for block in blocks if block]
            number = number + 1 if number is not None else None
        return "\n".join(lines)

    def _table(self, node: SyntaxTreeNode) -> str:
        rows = [
            [self.children(cell) for cell in row.children] for part in node.children for row in part.children
        ]
        plain = [[html.unescape(_TAG.sub("", cell)).replace("\n", " ") for cell in row] for row in rows]
        if not plain:
            return ""
        widths = [max(_columns(row[index]) for row in plain) for index in range(len(plain[0]))]
        if sum(widths) + 2 * (len(widths) - 1) > _WIDEST_TABLE:
            return _records(rows)
        lines = [
            "  ".join(_padded(cell, widths[at]) for at, cell in enumerate(row)).rstrip() for row in plain
        ]
        lines.insert(1, "  ".join("─" * width for width in widths))
        return f"<pre>{_escaped(chr(10).join(lines))}</pre>"


def _records(rows: list[list[str]]) -> str:
    """A wide table: a paragraph for each row."""
    head, *body = rows
    texts = []
    for row in body or [head]:
        lines = [f"<b>{row[0]}</b>"] if row[0] else []
        lines += [
            f"{name}: {cell}" if name else cell for name, cell in zip(head[1:], row[1:], strict=False) if cell
        ]
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def _code(node: SyntaxTreeNode) -> str:
    content = _escaped(node.content.rstrip("\n"))
    language = node.info.split()[0] if node.type == "fence" and node.info.strip() else ""
    if not content.strip():
        return ""
    if language and _LANGUAGE.fullmatch(language):
        return f'<pre><code class="language-{_escaped(language)}">{content}</code></pre>'
    return f"<pre>{content}</pre>"


def _link(address: str, text: str) -> str:
    if not text:
        return ""
    if not address.lower().startswith(_SCHEMES):
        return text
    return f'<a href="{html.escape(address)}">{text}</a>'


def _spoiler(match: re.Match[str]) -> str:
    """A spoiler, unless its ends stand in different tags."""
    open_tags: list[str] = []
    for tag in _TAG.finditer(match[1]):
        if not tag[1]:
            open_tags.append(tag[2])
        elif not open_tags or open_tags.pop() != tag[2]:
            return f"||{match[1]}||"
    return f"||{match[1]}||" if open_tags else f"<tg-spoiler>{match[1]}</tg-spoiler>"


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace(_BARS, "")


def _columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))
