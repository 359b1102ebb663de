"""Framing and thinking tags do not depend on where a stream is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.errors import ModelResponseError
from hermes_agent.models import sse
from hermes_agent.models.assembly import without_surrogates
from hermes_agent.models.sse import EventDecoder, ServerEvent
from hermes_agent.models.thinking import ThinkSplitter, split_orphan


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


PLACES = st.lists(st.integers(0, 200), max_size=12)
STREAM = b": hello\r\n\r\nevent: a\ndata: one\ndata: two\n\nid: 3\ndata:three\r\n\r\n\ndata: \xc3\xa4\n\n"
EVENTS = [ServerEvent("a", b"one\ntwo"), ServerEvent("", b"three"), ServerEvent("", "\u00e4".encode())]


@given(PLACES)
def test_events_are_the_same_however_the_bytes_arrive(places: list[int]) -> None:
    decoder = EventDecoder()
    found = [event for chunk in cut(STREAM, places) for event in decoder.feed(chunk)]
    assert [*found, *decoder.finish()] == EVENTS


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_are_survived(chunks: list[bytes]) -> None:
    decoder = EventDecoder()
    for chunk in chunks:
        decoder.feed(chunk)
    decoder.finish()


def test_an_endless_line_is_refused() -> None:
    decoder = EventDecoder()
    with pytest.raises(ModelResponseError):
        for _ in range(sse.MAX_EVENT_BYTES // (1 << 20) + 2):
            decoder.feed(b"x" * (1 << 20))


def split(text: str, places: list[int]) -> tuple[str, str]:
    splitter = ThinkSplitter()
    ends = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    pieces = []
    for start, end in pairwise(ends):
        pieces += splitter.feed(text[start:end])
    pieces += splitter.finish()
    return tuple("".join(each.text for each in pieces if each.kind == kind) for kind in ("reasoning", "text"))  # type: ignore[return-value]


CASES = [
    ("<think>why</think>so", "why", "so"),
    ("<think>why</think>\n\nso", "why", "so"),
    ("\n<thinking>why < not</thinking>so", "why < not", "\nso"),
    ("so <think>not a tag</think>", "", "so <think>not a tag</think>"),
    ("a\n<think>x</think>b\n<think>y</think>c", "xy", "a\nb\nc"),
    ("```\n<think>code</think>\n```\n", "", "```\n<think>code</think>\n```\n"),
    ("<thinker>no</thinker>", "", "<thinker>no</thinker>"),
    ("a < b <", "", "a < b <"),
    ("<think>cut off", "cut off", ""),
    ("<thi", "", "<thi"),
    ("<think></think>so", "", "so"),
    ("<REASONING_SCRATCHPAD>pad</REASONING_SCRATCHPAD>so", "pad", "so"),
]


@pytest.mark.parametrize(("text", "reasoning", "answer"), CASES)
@given(places=PLACES)
def test_thinking_is_split_off_however_the_text_arrives(
    text: str, reasoning: str, answer: str, places: list[int]
) -> None:
    assert split(text, places) == (reasoning, answer)


@pytest.mark.parametrize(("text", "reasoning", "answer"), CASES)
def test_thinking_is_split_off_character_by_character(text: str, reasoning: str, answer: str) -> None:
    assert split(text, list(range(len(text)))) == (reasoning, answer)


@given(st.text(alphabet="<>/think \n`a", max_size=40), PLACES)
def test_no_character_of_an_answer_without_tags_is_lost(text: str, places: list[int]) -> None:
    reasoning, answer = split(text, places)
    if "<think>" not in text:
        assert (reasoning, answer) == ("", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("why\n</think>\nso", ("why", "so")),
        ("The tag </think> ends it.", ("", "The tag </think> ends it.")),
        ("```\n</think>\n```", ("", "```\n</think>\n```")),
        ("plain", ("", "plain")),
    ],
)
def test_a_closing_tag_alone_on_its_line_ends_swallowed_reasoning(
    text: str, expected: tuple[str, str]
) -> None:
    assert split_orphan(text) == expected


@given(st.text(alphabet=st.characters(codec=None), max_size=20))
def test_text_without_surrogates_can_always_be_encoded(text: str) -> None:
    without_surrogates(text).encode()


def test_pairs_of_surrogates_become_their_character() -> None:
    assert without_surrogates("a\ud83d\ude00b\ud83d") == "a\U0001f600b"
