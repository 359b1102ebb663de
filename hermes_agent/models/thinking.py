"""Separates reasoning that models write between tags from the answer, however a stream cuts the tags."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_NAMES = ("think", "thinking", "thought", "reasoning", "REASONING_SCRATCHPAD")
_OPEN = {f"<{name}>": f"</{name}>" for name in _NAMES}
_CLOSES = tuple(_OPEN.values())
_LONGEST = max(map(len, _CLOSES))
_ANY_OPEN = re.compile("|".join(map(re.escape, _OPEN)))


class Piece(NamedTuple):
    """A run of text or of reasoning."""

    kind: Literal["text", "reasoning"]
    text: str


class ThinkSplitter:
    """Feed it the content of a stream; it gives text and reasoning apart.

    A tag opens reasoning only where models put it: at the start of the answer or of a line, outside
    code fences. Everywhere else it is text, for answers may speak about such tags.
    """

    def __init__(self) -> None:
        self._held = ""
        self._close: str | None = None
        self._skips_newlines = False  # those between a closing tag and what follows
        self._at_start = True  # only white space since the start of the answer, line or last block
        self._in_fence = False
        self._line = ""  # beginning of the current line, as far as a fence mark needs it

    def feed(self, text: str) -> list[Piece]:
        """Take the next content; give what is certain."""
        if self._skips_newlines:
            text = text.lstrip("\n")
            if not text:
                return []
            self._skips_newlines = False
        if not self._held and self._close is None and "<" not in text:
            self._note(text)
            return [Piece("text", text)] if text else []
        pieces: list[Piece] = []
        self._held += text
        while self._held and (self._inside(pieces) if self._close else self._outside(pieces)):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """The stream has ended: give what was held back."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [Piece("reasoning" if self._close else "text", held)]

    def _inside(self, pieces: list[Piece]) -> bool:
        assert self._close is not None
        before, found, after = self._held.partition(self._close)
        if found:
            if before:
                pieces.append(Piece("reasoning", before))
            self._held, self._close, self._at_start = after.lstrip("\n"), None, True
            self._skips_newlines = not self._held
            return bool(self._held)
        keep = _partial(self._held, (self._close,))
        if len(self._held) > keep:
            pieces.append(Piece("reasoning", self._held[: len(self._held) - keep]))
            self._held = self._held[len(self._held) - keep :]
        return False

    def _outside(self, pieces: list[Piece]) -> bool:
        at = self._held.find("<")
        if at != 0:
            text = self._held if at < 0 else self._held[:at]
            self._emit(text, pieces)
            self._held = self._held[len(text) :]
            return bool(self._held)
        if not self._at_start or self._in_fence:
            return self._plain(pieces)
        match = _ANY_OPEN.match(self._held)
        if match:
            self._close = _OPEN[match[0]]
            self._held = self._held[match.end() :]
            return True
        if any(tag.startswith(self._held) for tag in _OPEN):
            return False
        return self._plain(pieces)

    def _plain(self, pieces: list[Piece]) -> bool:
        self._emit("<", pieces)
        self._held = self._held[1:]
        return bool(self._held)

    def _emit(self, text: str, pieces: list[Piece]) -> None:
        self._note(text)
        if pieces and pieces[-1].kind == "text":
            pieces[-1] = Piece("text", pieces[-1].text + text)
        else:
            pieces.append(Piece("text", text))

    def _note(self, text: str) -> None:
        """Remember where in a line and in which fence the text leaves us."""
        head, newline, rest = text.partition("\n")
        while True:
            if len(self._line) < 8:
                self._line = (self._line + head).lstrip()[:8]
            self._at_start = self._at_start and not head.strip()
            if not newline:
                return
            if self._line.startswith(("```", "~~~")):
                self._in_fence = not self._in_fence
            self._line, self._at_start = "", True
            head, newline, rest = rest.partition("\n")


def _partial(text: str, tags: tuple[str, ...]) -> int:
    """How many characters at the end of `text` may be the beginning of a tag."""
    for size in range(min(_LONGEST - 1, len(text)), 0, -1):
        end = text[-size:]
        if any(tag.startswith(end) for tag in tags):
            return size
    return 0


_ORPHAN = re.compile(r"\A.*?</(?:think|thinking|thought|reasoning)>\s*", re.DOTALL)
_HAS_OPEN = re.compile(r"<(?:think|thinking|thought|reasoning)>")


def split_orphan(text: str) -> tuple[str, str]:
    """Reasoning and answer of a text whose opening tag the chat template has swallowed.

    Only a closing tag alone on its line counts.
    """
    match = _ORPHAN.match(text)
    if match is None or _HAS_OPEN.search(match[0]) or "```" in match[0]:
        return "", text
    close = match[0].rstrip()
    before = close[: close.rindex("</")]
    if not before.endswith("\n"):
        return "", text
    return before.strip(), text[match.end() :]
