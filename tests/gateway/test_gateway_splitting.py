"""Long texts are cut into parts without losing anything or breaking code blocks."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.gateway.splitting import split_text

_TEXTS = st.lists(
    st.sampled_from(
        [
            "word ",
            "a longer sentence. ",
            "\n",
            "\n\n",
            "```python\n",
            "\n```\n",
            "x" * 50,
            "😀 ",
            "- item\n",
            "~~~\n",
        ]
    ),
    max_size=60,
).map("".join)


@given(_TEXTS, st.integers(32, 400))
def test_every_part_fits_and_no_word_is_lost(text: str, limit: int) -> None:
    parts = split_text(text, limit)
    assert all(len(part) <= limit for part in parts)
    assert _letters("".join(parts)) == _letters(text)


@given(_TEXTS, st.integers(32, 400))
def test_utf16_limits_are_kept(text: str, limit: int) -> None:
    def units(piece: str) -> int:
        return len(piece.encode("utf-16-le")) // 2

    assert all(units(part) <= limit for part in split_text(text, limit, units))


def test_a_code_block_is_closed_and_opened_again() -> None:
    code = "\n".join(f"line {number}" for number in range(40))
    parts = split_text(f"Look:\n\n```python\n{code}\n```\nDone.", 120)
    assert len(parts) > 2
    for part in parts:
        assert len(re.findall(r"^```", part, re.MULTILINE)) % 2 == 0, part
    assert all(part.startswith("```python") for part in parts[1:-1])


def test_nothing_to_send_gives_no_part() -> None:
    assert split_text("", 100) == []
    assert split_text(" \n\n ", 100) == []


def test_paragraphs_are_kept_whole_where_possible() -> None:
    assert split_text("one one one one one\n\ntwo two two two", 30) == [
        "one one one one one",
        "two two two two",
    ]


def _letters(text: str) -> str:
    """Without fences and white space, which may be added or dropped at a cut."""
    return re.sub(r"[`~\s]", "", text).replace("python", "")
