"""HTML mail as text: paragraphs, lists, links, quotes. Nothing is fetched, nothing is run.

The scanner is our own: the standard library's looks for the end of some constructs anew at each place where
one begins, so that half a megabyte of `<?` takes it a minute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape

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
_LONGEST_LINE = 20_000
_MOST_HTML = 500_000
_LONGEST_TAG = 4_000
_RAW = frozenset({"script", "style", "title", "noscript"})
"""What is in them is no markup, and nothing to read."""
_TAG = re.compile(r"""<(?P<slash>/?)(?P<name>[a-zA-Z][^\s/>]*)(?P<rest>(?:[^>"']|"[^"]*"|'[^']*')*+)>""")
_ATTRIBUTE = re.compile(r"""([^\s=/"'>]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""")


class _Reader:
    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self._open: list[tuple[str, bool]] = []
        self._hidden = 0
        self._quotes = 0
        self._pre = 0
        self._links: list[tuple[str, int]] = []
        self._marks: list[int] = []

    def start(self, tag: str, values: Mapping[str, str]) -> None:
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

    def end(self, tag: str) -> None:
        if not any(name == tag for name, _ in self._open):
            return  # closed without having been opened
        while self._open:
            name, was_hidden = self._open.pop()
            self._hidden -= was_hidden
            if not self._hidden and not was_hidden:
                self._leave(name)
            if name == tag:
                return

    def say(self, data: str) -> None:
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
            if len(self.lines[-1]) > _LONGEST_LINE:
                self._add_line()

    def _break(self) -> None:
        if self.lines[-1].strip():
            self._add_line()

    def _add_line(self) -> None:
        self.lines.append("")


def html_to_text(html: str) -> str:
    """The text a person would see, of the first half million characters."""
    reader = _Reader()
    _scan(html[:_MOST_HTML], reader)
    text = "\n".join(line.rstrip() for line in reader.lines)
    text = re.sub(r"[\u200b\u200c\u200d\u2060\ufeff\u00ad]", "", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _scan(html: str, reader: _Reader) -> None:
    """Once from front to back; what never ends is left out, and a tag that is none is text."""
    folded = html.lower()
    if len(folded) != len(html):  # a few capitals become two letters
        folded = html
    position, last_end = 0, html.rfind(">")
    while position < len(html):
        begin = html.find("<", position)
        if begin < 0 or begin > last_end:
            break
        if begin > position:
            reader.say(unescape(html[position:begin]))
        position = _markup(html, folded, begin, reader)
    reader.say(unescape(html[position:]))


def _markup(html: str, folded: str, begin: int, reader: _Reader) -> int:
    """What `<` begins; returns where it ends."""
    if html.startswith(("<!", "<?"), begin):
        end = "-->" if html.startswith("<!--", begin) else ">"
        found = html.find(end, begin + 2)
        return found + len(end) if found >= 0 else len(html)
    match = _TAG.match(html, begin, begin + _LONGEST_TAG)
    if match is None:
        reader.say("<")
        return begin + 1
    tag = match["name"].lower()
    if match["slash"]:
        reader.end(tag)
        return match.end()
    if tag in _RAW:
        closing = folded.find(f"</{tag}", match.end())
        return closing if closing >= 0 else len(html)
    values = {
        name.lower(): unescape(double or single or bare)
        for name, double, single, bare in _ATTRIBUTE.findall(match["rest"])
    }
    reader.start(tag, values)
    return match.end()
