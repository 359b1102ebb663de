"""A small notation for sentences, so that the demo model's grammar can be read.

    [count|number] (of|in) {path}

`[…]` may be left out, `(a|b)` is one of several, `{name}` or `{name:kind}` takes a part of the sentence;
everything else is a word. Letter case, a colon or a comma after a word and the width of spaces do not
matter. A sentence must fit as a whole.
"""

from __future__ import annotations

import re

QUOTED = r"\"[^\"]*\"|'[^']*'|`[^`]*`|“[^”]*”|‘[^’]*’"
"""A quoted part; the quotes are still on."""
WORD = rf"(?:{QUOTED}|\S+)"
"""One word, or a quoted part."""

_GAP = r"(?:[:,]?\s+)"
_KINDS = {
    "text": rf"(?:{QUOTED}|.+?)",
    "word": WORD,
    "range": r"\d{1,6}(?:\s*[-–]\s*\d{1,6})?",
    "number": r"\d{1,6}",
    "filename": rf"(?:{QUOTED}|\S+\.\w+)",
    "folder": r"(?:\S+/|\.\.?|~)",
}
_TOKEN = re.compile(r"\s+|[\[\]()|]|\{(\w+)(?::(\w+))?\}|[^\s\[\]()|{}]+")


def compile_pattern(notation: str) -> re.Pattern[str]:
    """Make a regular expression; match it with `match_sentence`."""
    parts: list[str] = []
    for token in _TOKEN.finditer(notation):
        text = token.group(0)
        if text == "[":
            parts.append("(?:(?:")
        elif text == "]":
            parts.append("))?")
        elif text == "(":
            parts.append("(?:")
        elif text in (")", "|"):
            parts.append(text)
        elif token[1]:
            parts.append(f"{_GAP}(?P<{token[1]}>{_KINDS[token[2] or 'text']})")
        elif not text.isspace():
            parts.append(_GAP + text.replace("?", r"\?").replace("'", "['’]?"))
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def match_sentence(pattern: re.Pattern[str], sentence: str) -> re.Match[str] | None:
    """Match a sentence as a whole."""
    return pattern.fullmatch(" " + sentence)
