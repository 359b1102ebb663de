"""Running a search: candidates from the index, newest first, then ranked.

Ranking every match of a common word would read half the database, so only a bounded number of the
newest matches is ranked: messages that hold what was typed literally come first, then density of the
words, with tool output below what people and the model said.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from hermes_agent.core.session import SearchHit
from hermes_agent.store.search_query import SearchQuery, compile_query
from hermes_agent.store.search_text import fold, searchable

MARK_START: Final = ">>>"
MARK_END: Final = "<<<"

_CANDIDATES: Final = 100
_LITERAL_CANDIDATES: Final = 1_500
_SCANNED: Final = 20_000
_SNIPPET: Final = 240
_RANKED_LENGTH: Final = 4_000
_ROLE_WEIGHT: Final = {"tool": 0.5}

_COLUMNS: Final = (
    "m.id, m.session_id, s.title, s.source, m.role, m.timestamp, m.content, m.tool_name, m.tool_calls"
)
# CROSS JOIN fixes the order: the index first, from the newest down, so that LIMIT ends it early.
_FROM_INDEX: Final = (
    "FROM message_words f CROSS JOIN messages m ON m.id = f.rowid"
    " CROSS JOIN sessions s ON s.id = m.session_id"
)
_FROM_MESSAGES: Final = "FROM messages m CROSS JOIN sessions s ON s.id = m.session_id"


@dataclass(frozen=True, slots=True)
class _Candidate:
    row: tuple[Any, ...]
    text: str
    folded: str

    @property
    def id(self) -> int:
        return int(self.row[0])


def search(
    connection: sqlite3.Connection,
    query: str,
    *,
    limit: int = 20,
    session_id: str | None = None,
    source: str | None = None,
) -> list[SearchHit]:
    """Messages that match, best first, at most `limit`."""
    compiled = compile_query(query)
    if limit <= 0 or not (compiled.terms or compiled.substring):
        return []
    rows = _rows(connection, compiled, session_id=session_id, source=source)
    candidates = _choose(rows, compiled, max(limit, _CANDIDATES))
    patterns = [re.compile(term.pattern()) for term in compiled.terms]
    if compiled.substring:
        patterns = [re.compile(re.escape(fold(compiled.substring)))]
    ranked = sorted(candidates, key=lambda item: (_score(item, compiled, patterns), item.id), reverse=True)
    return [_hit(item, patterns, compiled) for item in ranked[:limit]]


def _rows(
    connection: sqlite3.Connection, query: SearchQuery, *, session_id: str | None, source: str | None
) -> Iterator[tuple[Any, ...]]:
    """Matching rows, newest first, as a stream."""
    conditions = ["m.active IS NOT 0"]
    values: list[object] = []
    if query.expression:
        tables, order = _FROM_INDEX, "f.rowid"
        conditions.append("message_words MATCH ?")
        values.append(query.expression)
    else:
        tables, order = _FROM_MESSAGES, "m.id"
    if session_id is not None:
        # A session's messages lie close together: a range of ids spares the walk through all others.
        bounds = connection.execute(
            "SELECT min(id), max(id) FROM messages WHERE session_id = ?", (session_id,)
        ).fetchone()
        conditions += [f"{order} BETWEEN ? AND ?", "m.session_id = ?"]
        values += [*bounds, session_id]
    if source is not None:
        conditions.append("s.source = ?")
        values.append(source)
    return connection.execute(
        f"SELECT {_COLUMNS} {tables} WHERE {' AND '.join(conditions)} ORDER BY {order} DESC",
        values,
    )


def _choose(rows: Iterator[tuple[Any, ...]], query: SearchQuery, wanted: int) -> list[_Candidate]:
    """The newest candidates; with literals, those that hold them before others."""
    accepts = _acceptance(query)
    literal: list[_Candidate] = []
    others: list[_Candidate] = []
    most_read = _SCANNED if query.patterns or not query.expression else _LITERAL_CANDIDATES
    for count, row in enumerate(rows, start=1):
        text = searchable(row[4], row[6], row[7], row[8])
        folded = fold(text)
        if accepts(folded):
            item = _Candidate(row, text, folded)
            if all(part in folded for part in query.literals):
                literal.append(item)
            elif len(others) < wanted:
                others.append(item)
        if len(literal) >= wanted or count >= max(most_read, wanted):
            break
    return [*literal, *others][:wanted]


def _acceptance(query: SearchQuery) -> Callable[[str], bool]:
    if query.substring:
        wanted = fold(query.substring)
        return lambda folded: wanted in folded
    return lambda folded: all(pattern.search(folded) for pattern in query.patterns)


def _score(item: _Candidate, query: SearchQuery, patterns: list[re.Pattern[str]]) -> tuple[bool, float]:
    """Literal matches first; then how many of the terms, how densely, weighed by who said it."""
    is_literal = bool(query.literals) and all(part in item.folded for part in query.literals)
    head = item.folded[:_RANKED_LENGTH]
    score = 0.0
    for pattern in patterns:
        count = sum(1 for _ in pattern.finditer(head))
        score += count / (count + 0.5 + len(head) / 800)
    return is_literal, score * _ROLE_WEIGHT.get(item.row[4], 1.0)


def _hit(item: _Candidate, patterns: list[re.Pattern[str]], query: SearchQuery) -> SearchHit:
    identifier, session_id, title, source, role, timestamp = item.row[:6]
    spans = _spans(item.folded, patterns, query)
    return SearchHit(
        message_id=identifier,
        session_id=session_id,
        session_title=title,
        source=source or "",
        role=role,
        timestamp=float(timestamp) if isinstance(timestamp, int | float) else 0.0,
        snippet=_snippet(item.text, spans),
    )


def _spans(folded: str, patterns: list[re.Pattern[str]], query: SearchQuery) -> list[tuple[int, int]]:
    """Where matches are, in order and without overlaps."""
    found = sorted(
        (start, end)
        for pattern in [*(re.compile(re.escape(part)) for part in query.literals), *patterns]
        for start, end in (match.span() for match in pattern.finditer(folded))
        if end > start
    )
    spans: list[tuple[int, int]] = []
    for start, end in found:
        if spans and start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def _snippet(text: str, spans: list[tuple[int, int]]) -> str:
    """About 240 characters around the first match, on one line, with matches marked."""
    first = spans[0][0] if spans else 0
    start = max(0, first - _SNIPPET // 4)
    if 0 < start < len(text) and (space := text.find(" ", start, first)) != -1:
        start = space + 1
    end = min(len(text), start + _SNIPPET)
    pieces = []
    position = start
    for begin, stop in spans:
        if begin >= end:
            break
        if begin < position:
            continue
        stop = min(stop, end)
        pieces += [text[position:begin], MARK_START, text[begin:stop], MARK_END]
        position = stop
    pieces.append(text[position:end])
    line = " ".join("".join(pieces).split())
    return f"{'…' if start else ''}{line}{'…' if end < len(text) else ''}"
