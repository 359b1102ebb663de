"""Markdown to mrkdwn and back; blocks, commands, cursors."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("slack_sdk", reason="the extra slack is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_agent.core.platform import Button
from hermes_agent.gateway.platforms.slack.blocks import MAX_EDIT_BYTES, MAX_EDIT_TEXT, body
from hermes_agent.gateway.platforms.slack.formatting import from_slack, measure, to_slack
from hermes_agent.gateway.platforms.slack.memory import Memory, stamp
from hermes_agent.gateway.platforms.slack.messages import as_command
from hermes_agent.gateway.splitting import split_text


@pytest.mark.parametrize(
    ("markdown", "mrkdwn"),
    [
        ("some *em* and **strong** and ~~gone~~", "some _em_ and *strong* and ~gone~"),
        ("***both***", "_*both*_"),
        ("# Head **x**", "*Head x*"),
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("<!channel> <@U1> @here", "&lt;!channel&gt; &lt;@U1&gt; @here"),
        ("`a<b` and ``` c ```", "`a&lt;b` and `c`"),
        ("[text](https://example.org/?a=1&b=2)", "<https://example.org/?a=1&amp;b=2|text>"),
        ("[a|b](https://example.org/x|y>z)", "<https://example.org/x%7Cy%3Ez|a¦b>"),
        ("[file](notes.txt)", "file (notes.txt)"),
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
        ("![cat](https://example.org/c.png)", "<https://example.org/c.png|cat>"),
        ("<https://example.org>", "<https://example.org>"),
        ("1. one\n2. two\n   - in\n", "1. one\n2. two\n    • in"),
        ("3. three\n4. four", "3. three\n4. four"),
        ("> a\n> b\n\nc", "> a\n> b\n\nc"),
        ("```py\nx < 1\n```", "```\nx &lt; 1\n```"),
        ("| a | b |\n|---|---|\n| 1 | **2** |", "```\na  b\n-  -\n1  2\n```"),
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
        ("a\n\n---\n\nb", "a\n\n──────────\n\nb"),
        ("line one\nline two", "line one\nline two"),
    ],
)
def test_markdown_becomes_mrkdwn(markdown: str, mrkdwn: str) -> None:
    assert to_slack(markdown) == mrkdwn


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("&lt;b&gt; &amp;amp;", "<b> &amp;"),
        ("<@U1> hi", "@Ann hi"),
        ("<@U1|ann> hi", "@Ann hi"),
        ("see <#C1|general> and <#C2>", "see #general and #C2"),
        ("<!here> <!subteam^S1|@devs> <!date^1^x|Monday>", "@here @devs Monday"),
        ("<https://example.org>", "https://example.org"),
        ("<https://example.org|example.org>", "https://example.org"),
        ("<https://example.org|click>", "click (https://example.org)"),
        ("<mailto:a@example.org|a@example.org>", "a@example.org"),
        ("1 < 2 > 0", "1 < 2 > 0"),
    ],
)
def test_slacks_markup_becomes_plain_text(text: str, plain: str) -> None:
    assert from_slack(text, lambda user: "@Ann" if user == "U1" else f"@{user}") == plain


MARKDOWN = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(["# h", "- l", "> q", "```", "| a | b |", "|---|---|", "<!channel>", "[a](b)", ""]),
    ),
    max_size=20,
).map("\n".join)


@given(MARKDOWN)
@settings(deadline=None)
def test_nothing_in_a_text_becomes_slacks_markup(markdown: str) -> None:
    shown = to_slack(markdown)
    for marked in shown.split("<")[1:]:
        assert marked.startswith(("http:", "https:", "mailto:", "tel:", "slack:"))
    assert measure(markdown) >= len(markdown)


@given(MARKDOWN, st.booleans(), st.booleans())
@settings(deadline=None)
def test_messages_keep_slacks_limits(markdown: str, is_edit: bool, has_buttons: bool) -> None:
    buttons = tuple(Button(f"Button {n}", f"v:{n}") for n in range(3 * has_buttons))
    for part in split_text(markdown * 20, 10_000, measure):
        made = body(part, buttons, is_edit=is_edit)
        if made is None:
            assert is_edit and len(to_slack(part)) > MAX_EDIT_TEXT
            continue
        if is_edit:
            assert len(made["text"].encode()) <= MAX_EDIT_BYTES
        sections = [each["text"]["text"] for each in made.get("blocks", ()) if each["type"] == "section"]
        assert all(0 < len(text) <= 3000 for text in sections)
        assert sum(map(len, sections)) <= 13_000 and len(made.get("blocks", ())) <= 50


@pytest.mark.parametrize("markdown", ["[a]: https://example.org", "&", "<!-- x -->", "**", "\u200b"])
def test_no_message_is_empty(markdown: str) -> None:
    made = body(markdown, (), is_edit=False)
    assert made is not None and made["text"].strip()


def test_an_edit_takes_buttons_away() -> None:
    assert body("done", (), is_edit=True) == {"text": "done", "blocks": []}
    assert body("new", (), is_edit=False) == {"text": "new"}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("!status", "/status"),
        ("!title a b", "/title a b"),
        ("!stat", "/stat"),
        ("!wow", "!wow"),
        ("!", "!"),
        ("! status", "! status"),
        ("!!status", "!!status"),
        ("status!", "status!"),
    ],
)
def test_an_exclamation_mark_makes_a_command_only_of_a_commands_name(text: str, meant: str) -> None:
    assert as_command(text) == meant


@given(st.text())
def test_any_stored_cursor_can_be_loaded(cursor: str) -> None:
    assert float(Memory.load(cursor).newest) > 0


def test_memory_is_bounded_and_stamps_compare_as_times_do() -> None:
    assert stamp(1) < stamp(999_999_999.5) < stamp(1_700_000_000.0001) < stamp(1_700_000_000.0002)
    memory = Memory()
    for number in range(1000):
        memory.received(f"C{number}", stamp(1000 + number))
        memory.takes_part("C1", stamp(number), stamp(number))
    assert len(memory.channels) == 300 and len(memory.threads) == 200
    again = Memory.load(memory.dump())
    assert again == memory
    assert again.missed_after("C999", 0) == stamp(1999)
    assert again.missed_after("unknown", 0) == stamp(1999 - 60)
    assert again.missed_after("C999", time.time()) >= stamp(time.time() - 1)
