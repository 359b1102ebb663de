"""Splits a growing Markdown text into blocks that are final and one that may still change.

Only text in, text out: how a block looks is decided in `painter`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

FENCE_CHUNK_LINES = 30
"""An open code block is given out in pieces of this many lines, so that it scrolls like any text."""
LIST_CHUNK_LINES = 24
CONTEXT_LINES = 200
"""Lines of earlier code that a further piece of the same block is highlighted after."""

_ITEM_NUMBER = re.compile(r"^(\s*)(\d+)([.)])")


@dataclass(frozen=True, slots=True)
class Block:
    """One top-level block of Markdown.

    Attributes:
        text: Its source.
        kind: `code` for fenced code, else `text`.
        lexer: Language of a code block, as written.
        code: The code itself, without fences.
        context: Earlier code of the same block that has been given out already.
        continues: Follows the previous block without a blank line.
    """

    text: str
    kind: str = "text"
    lexer: str = ""
    code: str = ""
    context: str = ""
    continues: bool = False


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("strikethrough").enable("table")


class BlockStream:
    """Feed it pieces; take what is final; look at what is still open."""

    def __init__(self) -> None:
        self._parser = _parser()
        self._tail = ""
        self._context = ""
        self._continues = False
        self._open: Block | None = None
        self._is_dirty = False

    def feed(self, text: str) -> None:
        """Append a piece of the answer."""
        self._tail += text
        self._is_dirty = True

    @property
    def is_dirty(self) -> bool:
        """Whether something was fed since the last `take`."""
        return self._is_dirty

    @property
    def open_block(self) -> Block | None:
        """The last block, which may still change; as of the last `take`."""
        return self._open

    def take(self) -> list[Block]:
        """The blocks that have become final since the last call."""
        if not self._is_dirty:
            return []
        self._is_dirty = False
        done: list[Block] = []
        lines = self._tail.split("\n")
        tops = self._top_level()
        for token, following in pairwise(tops):
            start, _ = _span(token)
            done.append(self._finish(self._build(token, lines[start : _span(following)[0]])))
        if not tops:
            self._open = None
            return done
        last = tops[-1]
        start = _span(last)[0]
        rest = lines[start:]
        self._tail = "\n".join(rest)
        done.extend(self._chunks(last, rest))
        self._open = self._build(self._top_level()[-1], self._tail.split("\n"))
        return done

    def finish(self) -> list[Block]:
        """Everything that is left; the stream is empty afterwards."""
        self._is_dirty = True
        done = self.take()
        if self._open is not None:
            done.append(self._finish(self._open))
        self.discard()
        return done

    def discard(self) -> None:
        """Forget what is not final (the request is made again)."""
        self._tail = ""
        self._context = ""
        self._continues = False
        self._open = None
        self._is_dirty = False

    def _top_level(self) -> list[Token]:
        tokens = self._parser.parse(self._tail)
        return [token for token in tokens if token.level == 0 and token.map and token.nesting >= 0]

    def _build(self, token: Token, lines: list[str]) -> Block:
        text = "\n".join(lines).rstrip("\n")
        if token.type == "fence":
            code = token.content.removesuffix("\n")
            lexer = token.info.strip().split(" ")[0]
            return Block(text, "code", lexer, code, self._context, self._continues)
        return Block(text, continues=self._continues)

    def _finish(self, block: Block) -> Block:
        self._context = ""
        self._continues = False
        return block

    def _chunks(self, token: Token, lines: list[str]) -> list[Block]:
        if token.type == "fence":
            return self._fence_chunks(token, lines)
        if token.type in ("bullet_list_open", "ordered_list_open") and len(lines) > LIST_CHUNK_LINES:
            return self._list_chunk(token, lines)
        return []

    def _fence_chunks(self, token: Token, lines: list[str]) -> list[Block]:
        done: list[Block] = []
        head, closing = lines[0], token.markup
        indent = head[: len(head) - len(head.lstrip())]
        while len(lines) > FENCE_CHUNK_LINES + 2 and not _is_closing(lines[FENCE_CHUNK_LINES + 1], closing):
            piece, lines = lines[1 : FENCE_CHUNK_LINES + 1], [head, *lines[FENCE_CHUNK_LINES + 1 :]]
            code = "\n".join(line.removeprefix(indent) for line in piece)
            text = "\n".join([head, *piece, closing])
            lexer = token.info.strip().split(" ")[0]
            done.append(Block(text, "code", lexer, code, self._context, self._continues))
            known = (self._context.split("\n") if self._context else []) + code.split("\n")
            self._context = "\n".join(known[-CONTEXT_LINES:])
            self._continues = True
            self._tail = "\n".join(lines)
        return done

    def _list_chunk(self, token: Token, lines: list[str]) -> list[Block]:
        tokens = self._parser.parse(self._tail)
        items = [_span(item)[0] for item in tokens if item.type == "list_item_open" and item.level == 1]
        if len(items) < 2:
            return []
        cut = items[-1]
        block = Block("\n".join(lines[:cut]).rstrip("\n"), continues=self._continues)
        rest = lines[cut:]
        if token.type == "ordered_list_open":
            number = int(token.attrs.get("start", 1)) + len(items) - 1
            rest[0] = _ITEM_NUMBER.sub(lambda match: f"{match[1]}{number}{match[3]}", rest[0])
        self._tail = "\n".join(rest)
        self._continues = True
        return [block]


def _span(token: Token) -> tuple[int, int]:
    assert token.map is not None
    return token.map[0], token.map[1]


def _is_closing(line: str, markup: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(markup) and not stripped.strip(markup[:1])
