"""Plain text from what programs write to screens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.tools.screen_text import plain_text


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bplain\x1b=", "plain"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("a\x00b\x07", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"),
        ("kept\r\n", "kept\r\n"),
    ],
)
def test_screen_controls_are_removed(raw: str, plain: str) -> None:
    assert plain_text(raw) == plain


def test_on_a_terminal_only_the_last_state_of_a_line_counts() -> None:
    assert plain_text("10%\r50%\r100%\r\nx\x08y\r\n\r\n", is_terminal=True) == "100%\ny\n\n"


@given(st.text(alphabet=st.sampled_from("ab\x1b[]0;m\x07\\\r\n\x08P"), max_size=60), st.booleans())
def test_any_text_becomes_plain(text: str, is_terminal: bool) -> None:
    plain = plain_text(text, is_terminal=is_terminal)
    assert "\x07" not in plain
    assert "\x08" not in plain
    assert text.count("\n") >= plain.count("\n")
