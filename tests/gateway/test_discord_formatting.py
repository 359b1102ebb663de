"""Markdown to what Discord shows; ids, nonces and cursors."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("discord", reason="the extra discord is not installed")

from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.agent.commands import commands_for
from hermes_agent.gateway.platforms.discord.commands import command_payloads, command_text, digest
from hermes_agent.gateway.platforms.discord.formatting import MAX_TEXT, fitting, measure, to_discord
from hermes_agent.gateway.platforms.discord.memory import Memory, snowflake
from hermes_agent.gateway.platforms.table import PLATFORMS
from hermes_agent.gateway.splitting import split_text

TABLE = "| Name | Value |\n|---|---:|\n| **first** | `1` |\n| 日本 | a \\| b |"


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("plain *text* with [a link](https://example.org)", None),
        ("# One\n## Two\n### Three", None),
        ("#### Four **x**", "**Four x**"),
        ("Title\n=====\ntext", "# Title\ntext"),
        ("a\n\n---\n\nb", "a\n\n──────────\n\nb"),
        ("![a cat](https://example.org/cat.png)", "[a cat](https://example.org/cat.png)"),
        ("`![not](one)` here", None),
        ("```\n#### code\n---\n| a | b |\n|---|---|\n```", None),
        (f"before\n\n{TABLE}\n\nafter", None),
    ],
)
def test_discord_is_given_what_it_can_show(markdown: str, shown: str | None) -> None:
    if TABLE in markdown:
        lines = to_discord(markdown).split("\n")
        assert lines[2:8] == ["```", "Name   Value", "-----  -----", "first  1", "日本   a | b", "```"]
        assert lines[0] == "before" and lines[-1] == "after"
    else:
        assert to_discord(markdown) == (markdown if shown is None else shown)


def test_a_table_that_grows_too_wide_is_sent_as_it_was_written() -> None:
    rows = "\n".join(f"| {'x' * (60 if n == 7 else 1)} | y |" for n in range(120))
    markdown = f"| a | b |\n|---|---|\n{rows}"
    assert len(to_discord(markdown)) > MAX_TEXT
    assert fitting(markdown) == markdown
    assert all(len(fitting(part)) <= MAX_TEXT for part in split_text(markdown, MAX_TEXT, measure))


MARKDOWN = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            ["# h", "##### h", "---", "| a | b |", "|---|---|", "```", "![a](b)", "> q", "- l", ""]
        ),
    ),
    max_size=30,
).map("\n".join)


@given(MARKDOWN)
def test_any_text_can_be_translated_and_split(markdown: str) -> None:
    assert measure(markdown) >= max(len(markdown), len(to_discord(markdown)))
    for part in split_text(markdown, 200, measure):
        assert part.strip()


def test_the_menu_has_every_command_of_chats_within_discords_limits() -> None:
    payloads = command_payloads()
    assert [each["name"] for each in payloads] == [spec.name for spec in commands_for("gateway")]
    assert len(payloads) <= 100
    for each in payloads:
        assert 1 <= len(each["description"]) <= 100
        for option in each.get("options", ()):
            assert 1 <= len(option["description"]) <= 100 and len(option.get("choices", ())) <= 25
    assert digest(payloads) == digest(command_payloads())
    assert command_text({"name": "title", "options": [{"name": "input", "value": "a b"}]}) == "/title a b"
    assert command_text({"name": "new"}) == "/new"


def test_the_table_names_each_platform_once() -> None:
    names = [entry.name for entry in PLATFORMS]
    assert len(names) == len(set(names))


def test_nonces_are_the_same_for_a_part_and_differ_between_installations() -> None:
    one, other = Memory(), Memory()
    assert one.nonce(1, "7-0") == Memory.load(one.dump()).nonce(1, "7-0")
    assert len({one.nonce(1, "7-0"), one.nonce(1, "7-1"), one.nonce(2, "7-0"), other.nonce(1, "7-0")}) == 4
    assert len(one.nonce(1, "x" * 64)) <= 25


@given(st.text())
def test_any_stored_cursor_can_be_loaded(cursor: str) -> None:
    assert Memory.load(cursor).newest > 0


@pytest.mark.parametrize("cursor", ["", "null", "[]", '{"salt": 1}', '{"newest": "x", "salt": ""}'])
def test_a_cursor_that_is_not_ours_begins_now(cursor: str) -> None:
    assert abs(Memory.load(cursor).newest - snowflake(time.time())) < 60_000 << 22


def test_memory_is_bounded_and_keeps_the_newest() -> None:
    memory = Memory()
    for channel in range(1000):
        memory.received(channel, 10_000 + channel, is_direct=channel % 2 == 0)
    assert len(memory.channels) == len(memory.direct) == 300
    assert memory.missed_after(999, 0) == 10_999
    memory.received(999, 5, is_direct=False)
    assert memory.missed_after(999, 0) == 10_999
    assert memory.missed_after(999, time.time()) >= snowflake(time.time() - 1)
