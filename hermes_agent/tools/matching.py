"""Find a piece of text that a model quoted from memory.

An exact match comes first. Models often get white space, indentation and typographic characters
slightly wrong, so whole lines are then compared with those forgiven, step by step; the first step that
finds anything decides. Nothing is ever guessed: a piece that is found twice is reported as ambiguous.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_LINES_FOR_NEAREST = 20_000

_PLAIN = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`", "'"),
        **dict.fromkeys("“”„‟″", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u202f\u3000", " "),
        **dict.fromkeys("\u200b\u200c\u200d\ufeff\u00ad"),
        "…": "...",
    }
)


def _plain(line: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", line.translate(_PLAIN))).strip()


LEVELS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("exactly", lambda line: line),
    ("but for trailing white space", str.rstrip),
    ("but for indentation", str.strip),
    ("but for white space and typographic characters", _plain),
)
"""How lines are compared, strictest first."""


@dataclass(frozen=True, slots=True)
class LineMatches:
    """Where a block of lines stands. `level` indexes `LEVELS`; `starts` are line numbers from 0."""

    level: int
    starts: tuple[int, ...]

    @property
    def how(self) -> str:
        """In words."""
        return LEVELS[self.level][0]


def find_lines(lines: Sequence[str], wanted: Sequence[str], start: int = 0) -> LineMatches | None:
    """All places (not overlapping) from line `start` on where the wanted lines stand, or None."""
    if not wanted or len(wanted) > len(lines) - start:
        return None
    for level, (_, fold) in enumerate(LEVELS):
        block = [fold(line) for line in wanted]
        if level and not any(block):
            return None
        folded = lines if level == 0 else [fold(line) for line in lines]
        found = _positions(folded, block, start)
        if found:
            return LineMatches(level, tuple(found))
    return None


def _positions(lines: Sequence[str], block: Sequence[str], start: int) -> list[int]:
    found: list[int] = []
    # look for the block's longest line first: it is the rarest, so few places need a full comparison
    anchor = max(range(len(block)), key=lambda index: len(block[index]))
    key, size = block[anchor], len(block)
    next_free = start
    for position in range(start + anchor, len(lines) - size + anchor + 1):
        first = position - anchor
        if lines[position] == key and first >= next_free and list(lines[first : first + size]) == list(block):
            found.append(first)
            next_free = first + size
    return found


def indentation(line: str) -> str:
    """The white space a line begins with."""
    return line[: len(line) - len(line.lstrip())]


def reindent(new: Sequence[str], quoted: Sequence[str], actual: Sequence[str]) -> list[str]:
    """Move replacement lines from the indentation the model quoted to the one that the file has.

    Each new line takes the file's indentation of the quoted line with the same quoted indentation; for
    depths that were not quoted, the difference of the first lines is applied.
    """
    known: dict[str, str] = {}
    for one, other in zip(quoted, actual, strict=False):
        if one.strip() and other.strip():
            known.setdefault(indentation(one), indentation(other))
    if not known or all(one == other for one, other in known.items()):
        return list(new)
    base_from, base_to = next(iter(known.items()))
    return [_moved(line, known, base_from, base_to) for line in new]


def _moved(line: str, known: dict[str, str], base_from: str, base_to: str) -> str:
    if not line.strip():
        return line
    old = indentation(line)
    if old in known:
        return known[old] + line[len(old) :]
    if old.startswith(base_from):
        return base_to + line[len(base_from) :]
    if base_from.startswith(old) and base_to.endswith(base_from[len(old) :]):
        return base_to[: len(base_to) - len(base_from) + len(old)] + line[len(old) :]
    return line


def nearest(lines: Sequence[str], wanted: Sequence[str], *, context: int = 2) -> str:
    """The place most like the wanted lines, as numbered lines for an error text; empty if nothing is."""
    if not any(line.strip() for line in wanted) or len(lines) > MAX_LINES_FOR_NEAREST:
        return ""
    key_index = max(range(len(wanted)), key=lambda index: len(wanted[index].strip()))
    key = wanted[key_index].strip()[:500]
    near = difflib.get_close_matches(key, {line.strip()[:500] for line in lines}, n=3, cutoff=0.6)
    best, score = -1, 0.0
    matcher: difflib.SequenceMatcher[str] = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2([line.strip() for line in wanted])
    candidates = [index for index, line in enumerate(lines) if line.strip()[:500] in near]
    for index in candidates[:50]:
        first = max(0, index - key_index)
        matcher.set_seq1([line.strip() for line in lines[first : first + len(wanted)]])
        if matcher.ratio() > score or best < 0:
            best, score = first, matcher.ratio()
    if best < 0:
        return ""
    last = min(len(lines), best + min(len(wanted), 20) + context)
    return "\n".join(f"{number + 1}|{lines[number]}" for number in range(max(0, best - context), last))
