"""The slash-command table and its parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.agent.commands import CATEGORIES, COMMANDS, commands_for, find, is_command, parse
from hermes_agent.core.errors import UsageError


def test_names_and_aliases_are_unique() -> None:
    names = [name for spec in COMMANDS for name in (spec.name, *spec.aliases)]
    assert len(names) == len(set(names))
    assert {spec.category for spec in COMMANDS} == set(CATEGORIES)


@pytest.mark.parametrize(
    "name",
    [
        "new",
        "reset",
        "clear",
        "redraw",
        "retry",
        "undo",
        "history",
        "save",
        "title",
        "resume",
        "sessions",
        "model",
        "personality",
        "reasoning",
        "tools",
        "toolsets",
        "usage",
        "compress",
        "stop",
        "steer",
        "queue",
        "help",
        "reload",
        "yolo",
        "config",
        "status",
        "copy",
        "verbose",
        "statusbar",
        "version",
        "quit",
        "exit",
    ],
)
def test_the_promised_commands_exist_in_the_chat(name: str) -> None:
    assert find(name)


def test_a_unique_prefix_is_enough_and_an_ambiguous_one_names_the_candidates() -> None:
    assert parse("/und").spec.name == "undo"
    assert parse("/mod gpt").argument == "gpt"
    with pytest.raises(UsageError, match="/reasoning") as caught:
        parse("/re")
    assert "/retry" in str(caught.value)


def test_an_exact_name_wins_over_longer_ones() -> None:
    assert parse("/q later").spec.name == "queue"
    assert parse("/v").spec.name == "version"


def test_an_unknown_command_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        parse("/modle")
    assert "/model" in str(caught.value.remedy)


@pytest.mark.parametrize("word", ["now", "--yes", "-y"])
def test_destructive_commands_are_confirmed_by_a_word(word: str) -> None:
    assert not parse("/undo 2").is_confirmed
    command = parse(f"/undo 2 {word}")
    assert command.is_confirmed
    assert command.argument == "2"


def test_a_confirmation_word_means_nothing_to_harmless_commands() -> None:
    assert parse("/queue do it now").argument == "do it now"


def test_quitting_asks_only_when_it_deletes() -> None:
    assert parse("/quit").is_confirmed
    assert not parse("/quit --delete").is_confirmed
    assert parse("/quit --delete --yes").is_confirmed


@pytest.mark.parametrize(
    "text", ["/etc/hosts is wrong", "//comment", "/ nothing", "/", "text /help", "/usr/bin"]
)
def test_paths_and_plain_text_are_not_commands(text: str) -> None:
    assert not is_command(text)


def test_cli_only_commands_are_unknown_to_the_gateway() -> None:
    assert "clear" not in {spec.name for spec in commands_for("gateway")}
    with pytest.raises(UsageError):
        parse("/clear", "gateway")


@given(st.text())
def test_any_text_is_parsed_or_refused_politely(text: str) -> None:
    if is_command(text):
        try:
            assert parse(text).spec in COMMANDS
        except UsageError as error:
            assert error.remedy
