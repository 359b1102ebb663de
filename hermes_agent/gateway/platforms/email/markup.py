"""HTML mail as text: paragraphs, lists, links, quotes. Nothing is fetched, nothing is run."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SKIPPED = frozenset({"style", "script", "head", "title", "noscript", "template", "svg"})
_BLOCKS = frozenset(
    (
        "p",
        "div",
        "section",
        "article",
        "header",
        "footer",
        "table",
        "tr",
        "ul",
        "ol",
        "dl",
        "dt",
        "dd",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "pre",
        "form",
        "address",
        "center",
        "fieldset",
        "figure",
        "main",
        "nav",
        "aside",
        "hr",
    )
)
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d]*[1-9])", re.IGNORECASE
)
_VOID = frozenset(
    ("br", "img", "hr", "meta", "link", "input", "area", "base", "col", "embed", "source", "track", "wbr")
)
_MOST_DEPTH = 200


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = [""]
        self._open: list[tuple[str, bool]] = []
        self._hidden = 0
        self._quotes = 0
        self._pre = 0
        self._links: list[tuple[str, int]] = []
        self._marks: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        is_hidden = tag in _SKIPPED or bool(_HIDDEN.search(values.get("style", "")))
        if tag not in _VOID:
            if len(self._open) < _MOST_DEPTH:
                self._open.append((tag, is_hidden))
            else:
                is_hidden = False
            self._hidden += is_hidden
        if self._hidden:
            return
        if tag in _BLOCKS or tag == "blockquote":
            self._break()
        if tag == "br":
            self._add_line()
        elif tag == "blockquote":
            self._quotes += 1
        elif tag == "pre":
            self._pre += 1
        elif tag in ("ul", "ol"):
            self._marks.append(0 if tag == "ol" else -1)
        elif tag == "li":
            self._break()
            self._write(self._bullet())
        elif tag in ("td", "th") and self.lines[-1].strip():
            self._write(" | ")
        elif tag == "a":
            self._links.append((values.get("href", ""), len(self.lines[-1])))
        elif tag == "img" and values.get("alt", "").strip():
            self._write(f"[{values['alt'].strip()}]")

    def handle_endtag(self, tag: str) -> None:
        if not any(name == tag for name, _ in self._open):
            return  # closed without having been opened
        while self._open:
            name, was_hidden = self._open.pop()
            self._hidden -= was_hidden
            if not self._hidden and not was_hidden:
                self._leave(name)
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._pre:
            first, *others = data.split("\n")
            self._write(first)
            for other in others:
                self._add_line()
                self._write(other)
            return
        text = re.sub(r"[ \t\r\n\f]+", " ", data.replace("\xa0", " "))
        if text.startswith(" ") and (not self.lines[-1] or self.lines[-1].endswith(" ")):
            text = text[1:]
        self._write(text)

    def _leave(self, tag: str) -> None:
        if tag == "blockquote":
            self._break()
            self._quotes = max(0, self._quotes - 1)
        elif tag == "pre":
            self._pre = max(0, self._pre - 1)
            self._break()
        elif tag == "a" and self._links:
            address, begin = self._links.pop()
            said = self.lines[-1][begin:].strip()
            if address.startswith(("http://", "https://")) and address.rstrip("/") != said.rstrip("/"):
                self._write(f" ({address})" if said else address)
        elif tag in ("ul", "ol"):
            if self._marks:
                self._marks.pop()
            self._break()
        elif tag == "p" or tag in _BLOCKS:
            self._break()
            if tag == "p":
                self._add_line()

    def _bullet(self) -> str:
        if self._marks and self._marks[-1] >= 0:
            self._marks[-1] += 1
            return f"{self._marks[-1]}. "
        return "- "

    def _write(self, text: str) -> None:
        if text:
            if not self.lines[-1] and self._quotes:
                self.lines[-1] = "> " * min(self._quotes, 8)
            self.lines[-1] += text

    def _break(self) -> None:
        if self.lines[-1].strip():
            self._add_line()

    def _add_line(self) -> None:
        self.lines.append("")


def html_to_text(html: str) -> str:
    """The text a person would see."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    text = "\n".join(line.rstrip() for line in reader.lines)
    text = re.sub(r"[\u200b\u200c\u200d\u2060\ufeff\u00ad]", "", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
