"""From what a person types to an FTS5 expression; every text is a valid query.

Words are joined by AND unless `AND`, `OR` or `NOT` (in capitals) stand between them. `"several words"`
is a phrase, `foo*` a prefix. A word with other characters in it (`foo-bar.baz/qux:1`, `a@b.c`, `50%`)
is a phrase of its pieces, and messages that hold it literally come first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hermes_agent.store.search_text import fold, set_apart

_MAX_LENGTH: Final = 2_000
_MAX_TERMS: Final = 40
_BROAD_PREFIX: Final = 2
_LEXEME: Final = re.compile(r'"([^"]*)"(\*?)|(\S+)')
_OPERATORS: Final = ("AND", "OR", "NOT")
_WORD: Final = re.compile(r"[^\W_]+")
_QUOTES: Final = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})


@dataclass(frozen=True, slots=True)
class Term:
    """One word or phrase.

    Attributes:
        text: As typed, without quotes and without the star of a prefix.
        is_prefix: Matches the beginning of a word.
    """

    text: str
    is_prefix: bool = False

    @property
    def words(self) -> list[str]:
        """Its words as the index sees them."""
        return _WORD.findall(set_apart(fold(self.text)))

    @property
    def is_literal(self) -> bool:
        """It holds characters that the index does not."""
        return bool(re.search(r"[^\w\s]|_", self.text))

    @property
    def is_broad(self) -> bool:
        """A prefix so short that the index would have to merge a large part of itself."""
        words = self.words
        return self.is_prefix and len(words) == 1 and len(words[0]) <= _BROAD_PREFIX and words[0].isascii()

    @property
    def expression(self) -> str:
        """FTS5 syntax."""
        quoted = set_apart(self.text).replace('"', " ").replace("\x00", " ")
        return f'"{quoted}"{" *" if self.is_prefix else ""}'

    def pattern(self) -> str:
        """A regular expression that finds it in folded text."""
        words = self.words
        gap = r"[\W_]*" if _is_unspaced(self.text) else r"[\W_]+"
        body = gap.join(re.escape(word) for word in words)
        if _is_unspaced(self.text):
            return body
        tail = r"[^\W_]*" if self.is_prefix else r"(?![^\W_])"
        return rf"(?<![^\W_]){body}{tail}"


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A query, ready to run.

    Attributes:
        expression: For `MATCH`; empty if the index cannot help (then `patterns` decide).
        terms: What a match should show, for ranking and snippets.
        patterns: Regular expressions that folded text must match as well.
        literals: Folded texts; messages that hold all of them come first.
        substring: The query has no word at all: look for this text itself.
    """

    expression: str
    terms: tuple[Term, ...]
    patterns: tuple[re.Pattern[str], ...] = ()
    literals: tuple[str, ...] = ()
    substring: str = ""


def compile_query(text: str) -> SearchQuery:
    """Understand a query. Never raises."""
    cleaned = text[:_MAX_LENGTH].encode("utf-8", "replace").decode().translate(_QUOTES).strip()
    items = _lex(cleaned)
    terms = tuple(item for item in items if isinstance(item, Term))
    if not terms:
        return SearchQuery("", (), substring=cleaned)
    positive, expression, broad = _combine(items)
    return SearchQuery(
        expression,
        positive,
        tuple(re.compile(term.pattern()) for term in broad),
        tuple(fold(term.text) for term in positive if term.is_literal and not term.is_prefix),
    )


def _lex(text: str) -> list[Term | str]:
    """Terms and operators; what holds no word is dropped."""
    items: list[Term | str] = []
    for match in _LEXEME.finditer(text):
        quoted, star, word = match[1], match[2], match[3]
        if word in _OPERATORS:
            items.append(word)
            continue
        if word is not None:
            body, is_prefix = word, word.endswith("*") and not word.endswith("**")
            body = body[:-1] if is_prefix else body
            body = body.strip('"') if body.count('"') % 2 else body
        else:
            body, is_prefix = quoted, bool(star)
        term = Term(body, is_prefix)
        if term.words:
            items.append(term)
        if len(items) >= _MAX_TERMS:
            break
    return items


def _combine(items: list[Term | str]) -> tuple[tuple[Term, ...], str, list[Term]]:
    """Put operators between terms where they make sense.

    Returns:
        The terms that are not excluded, the expression, and broad prefixes left out of it.
    """
    positive: list[Term] = []
    pieces: list[str] = []
    broad: list[Term] = []
    has_or = "OR" in items
    operator = ""
    for item in items:
        if isinstance(item, str):
            operator = item
            continue
        is_excluded = operator == "NOT" and bool(pieces)
        if not is_excluded:
            positive.append(item)
        if item.is_broad and not has_or and not is_excluded:
            broad.append(item)
        else:
            if pieces:
                pieces.append(operator or "AND")
            pieces.append(item.expression)
        operator = ""
    return tuple(positive), " ".join(pieces), broad


def _is_unspaced(text: str) -> bool:
    return set_apart(text) != text
