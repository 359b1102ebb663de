"""Turns Markdown, code, diffs and plain text into ANSI text with rich."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from markdown_it.token import Token
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Heading, HorizontalRule, Markdown
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from hermes_agent.cli.chat.blocks import Block, _parser

MAX_TEXT_WIDTH = 120
CODE_THEME = "ansi_dark"
"""Uses the terminal's own sixteen colours, so it fits dark and light backgrounds."""

_THEME = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold italic",
        "markdown.h4": "bold dim",
        "markdown.code": "cyan",
        "markdown.code_block": "none",
        "markdown.item.bullet": "cyan",
        "markdown.item.number": "cyan",
        "markdown.hr": "dim",
        "markdown.link": "blue underline",
        "markdown.link_url": "blue underline",
        "markdown.block_quote": "dim",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_TRAILING_SPACE = re.compile(r"[ ]+((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)
_SGR = re.compile(r"\x1b\[[0-9;]*m")


def _is_visible(line: str) -> bool:
    return bool(_SGR.sub("", line).strip())


def clean(text: str) -> str:
    """Text without escape sequences and control characters, so that nothing but us moves the cursor.

    Carriage returns act as they would on a terminal: the last version of a line stays.
    """
    text = text.replace("\r\n", "\n")
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROL.sub("", text).expandtabs(4)


def clip(text: str, width: int) -> str:
    """One line of at most `width` columns, with an ellipsis if it was cut."""
    flat = " ".join(clean(text).split())
    if cell_len(flat) <= width:
        return flat
    return set_cell_size(flat, max(0, width - 1)).rstrip() + "…"


class _PlainCode(CodeBlock):
    """Code without a box, two columns in: easy to read and to copy."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield code_renderable(str(self.text).rstrip("\n"), self.lexer_name)


class _LeftHeading(Heading):
    """All headings at the left."""

    LEVEL_ALIGN = dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), "left")


class _ThinRule(HorizontalRule):
    """A thin line."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Rule(style="dim", characters="─")


class _ChatMarkdown(Markdown):
    """Markdown as chats need it: raw HTML is text, and nothing that was written disappears."""

    elements = {  # noqa: RUF012 - the base class declares it
        **Markdown.elements,
        "fence": _PlainCode,
        "code_block": _PlainCode,
        "heading_open": _LeftHeading,
        "hr": _ThinRule,
    }

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False, code_theme=CODE_THEME)
        self.markup = text
        self.parsed = [_without_echoed_links(token) for token in _parser().parse(text)]


def _without_echoed_links(token: Token) -> Token:
    """Show `<https://x>` once: a link whose text is its own address needs no address behind it."""
    children = token.children or []
    kept: list[Token] = []
    skip_close = False
    for index, child in enumerate(children):
        if child.type == "link_open" and index + 1 < len(children):
            href = str(child.attrs.get("href", ""))
            if children[index + 1].content in (href, href.removeprefix("mailto:")):
                skip_close = True
                continue
        if child.type == "link_close" and skip_close:
            skip_close = False
            continue
        kept.append(child)
    if children:
        token.children = kept
    return token


def code_renderable(code: str, lexer: str, context: str = "") -> RenderableType:
    """Highlighted code; `context` is highlighted before it but not shown."""
    first = context.count("\n") + 2 if context else 1
    whole = f"{context}\n{code}" if context else code
    syntax = Syntax(
        whole,
        lexer or "text",
        theme=CODE_THEME,
        background_color="default",
        word_wrap=True,
        line_range=(first, first + code.count("\n")) if context else None,
    )
    return Padding(syntax, (0, 0, 0, 2))


class Painter:
    """Renders to ANSI text for one terminal.

    Args:
        color: False leaves bold, dim and underline only.
        environ: For the colour depth (`COLORTERM`, `TERM`).
    """

    def __init__(self, *, color: bool = True, environ: Mapping[str, str] | None = None) -> None:
        settings: dict[str, Any] = {
            "force_terminal": True,
            "no_color": not color,
            "theme": _THEME,
            "highlight": False,
            "emoji": False,
            "markup": False,
            "legacy_windows": False,
            "_environ": dict(environ or {"TERM": "xterm-256color"}),
        }
        self._buffer = io.StringIO()
        self._console = Console(file=self._buffer, width=80, **settings)

    def paint(self, renderable: RenderableType, width: int) -> str:
        """ANSI text; ends with a newline unless it is empty."""
        self._console.width = max(10, width)
        self._console.print(renderable)
        text = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return _TRAILING_SPACE.sub(r"\1", text)

    def block(self, block: Block, width: int) -> str:
        """One Markdown block."""
        columns = min(width, MAX_TEXT_WIDTH)
        if block.kind == "code":
            return self.paint(code_renderable(clean(block.code), block.lexer, clean(block.context)), width)
        lines = self.paint(_ChatMarkdown(clean(block.text)), columns).split("\n")
        while lines and not _is_visible(lines[0]):
            del lines[0]
        while lines and not _is_visible(lines[-1]):
            del lines[-1]
        return "\n".join(lines) + "\n" if lines else ""

    def text(self, text: str, width: int, style: str = "", indent: int = 0) -> str:
        """Plain text, wrapped."""
        body = Text(clean(text), style=style)
        return self.paint(Padding(body, (0, 0, 0, indent)) if indent else body, width)

    def hanging(self, mark: str, text: str, width: int, style: str = "") -> str:
        """A text behind a mark of one column; further lines are indented as far."""
        painted = self.paint(Padding(Text(clean(text), style=style), (0, 0, 0, 2)), width)
        return self.paint(Text(mark, style=style), width).rstrip("\n") + painted[1:]
