"""The three-way merge of declared settings into config.yaml."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.config import yaml_reader
from hermes_agent.deploy.merge import merge_file, merge_maps, same

PATH = Path("config.yaml")


def read(data: bytes) -> dict[str, Any]:
    return yaml_reader.parse(data, PATH).data


def merged(text: str, wanted: dict[str, Any], *before: dict[str, Any]) -> str:
    outcome = merge_file(text.encode(), wanted, before)
    assert not outcome.problem
    return outcome.data.decode()


SEVEN: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "fresh": ({}, {"model": {"default": "a"}}, {"model": {"default": "a"}}),
    "override": (
        {"model": {"default": "mine"}},
        {"model": {"default": "nix"}},
        {"model": {"default": "nix"}},
    ),
    "user keys kept": (
        {"timezone": "Europe/Berlin"},
        {"model": {"default": "a"}},
        {"timezone": "Europe/Berlin", "model": {"default": "a"}},
    ),
    "mixed": (
        {"model": {"default": "mine", "max_tokens": 5}, "toolsets": ["x", "y"]},
        {"model": {"default": "nix"}, "toolsets": ["z"]},
        {"model": {"default": "nix", "max_tokens": 5}, "toolsets": ["z"]},
    ),
    "mcp additive": (
        {"mcp_servers": {"mine": {"command": "m"}, "both": {"command": "old", "timeout": 3}}},
        {"mcp_servers": {"nix": {"url": "u"}, "both": {"command": "new"}}},
        {
            "mcp_servers": {
                "mine": {"command": "m"},
                "both": {"command": "new", "timeout": 3},
                "nix": {"url": "u"},
            }
        },
    ),
    "nested deep": (
        {"a": {"b": {"c": {"d": 1, "e": 2}}}},
        {"a": {"b": {"c": {"d": 9, "f": {"g": []}}}}},
        {"a": {"b": {"c": {"d": 9, "e": 2, "f": {"g": []}}}}},
    ),
    "idempotent": ({"a": 1, "b": {"c": 2}}, {"b": {"c": 2}}, {"a": 1, "b": {"c": 2}}),
}


def test_the_seven_scenarios_give_what_they_should_and_the_same_again():
    for name, (current, wanted, expected) in SEVEN.items():
        once = merge_file(json.dumps(current).encode(), wanted)
        assert read(once.data) == expected, name
        twice = merge_file(once.data, wanted, [wanted])
        assert twice.data == once.data, name
        assert not twice.set_keys and not twice.removed_keys


def test_a_new_file_is_block_style_yaml():
    assert merged("", {"model": {"default": "a"}, "toolsets": ["x"]}) == (
        "model:\n  default: a\ntoolsets:\n  - x\n"
    )


def test_comments_order_and_quotes_of_the_user_survive():
    text = (
        "# my notes\n"
        "timezone: 'Europe/Berlin'  # where I live\n"
        "model:\n"
        "  # cheap one\n"
        "  default: mine\n"
        '  base_url: "http://x"\n'
        "toolsets: [a, b]\n"
    )
    assert merged(text, {"model": {"default": "nix"}, "agent": {"max_turns": 3}}) == (
        "# my notes\n"
        "timezone: 'Europe/Berlin'  # where I live\n"
        "model:\n"
        "  # cheap one\n"
        "  default: nix\n"
        '  base_url: "http://x"\n'
        "toolsets: [a, b]\n"
        "agent:\n"
        "  max_turns: 3\n"
    )


def test_a_key_that_left_the_declaration_leaves_the_file():
    assert merged("a: 1\nb: 2\n", {"b": 2}, {"a": 1, "b": 2}) == "b: 2\n"


def test_a_key_that_was_changed_since_stays_when_it_leaves_the_declaration():
    outcome = merge_file(b"a: 5\nb: 2\n", {"b": 2}, [{"a": 1, "b": 2}])
    assert outcome.data == b"a: 5\nb: 2\n"
    assert outcome.kept_keys == ("a",)


def test_a_map_that_left_the_declaration_keeps_what_the_user_added():
    text = "mcp_servers:\n  nix:\n    url: u\n    timeout: 9\n  mine:\n    command: m\n"
    declared = {"mcp_servers": {"nix": {"url": "u"}, "gone": {"url": "x"}}}
    assert read(merged(text, {}, declared).encode()) == {
        "mcp_servers": {"nix": {"timeout": 9}, "mine": {"command": "m"}}
    }


def test_a_map_that_becomes_empty_by_removal_leaves_too():
    assert merged("a:\n  b:\n    c: 1\nx: 1\n", {}, {"a": {"b": {"c": 1}}}) == "x: 1\n"


def test_a_section_that_changes_its_kind_is_replaced():
    assert read(merged("a:\n  b: 1\n", {"a": 3}, {"a": {"b": 1}}).encode()) == {"a": 3}
    assert read(merged("a: 3\n", {"a": {"b": 1}}, {"a": 3}).encode()) == {"a": {"b": 1}}


def test_one_and_true_are_different_values():
    assert merged("a: 1\n", {"a": True}) == "a: true\n"
    assert merge_file(b"a: 1\n", {}, [{"a": True}]).data == b"a: 1\n"


def test_lists_are_replaced_whole():
    assert read(merged("a: [1, 2]\n", {"a": [3]}).encode()) == {"a": [3]}


def test_a_broken_file_gives_a_new_one_and_says_why():
    outcome = merge_file(b"a: [1,\nb: }", {"b": 2}, [{"a": 1}])
    assert read(outcome.data) == {"b": 2}
    assert "line" in outcome.problem


def test_yaml_that_no_edit_survives_keeps_its_meaning():
    outcome = merge_file(b"base: &b\n  x: 1\nother:\n  <<: *b\n  y: 2\n", {"other": {"z": 3}})
    data = read(outcome.data)
    assert data == {"base": {"x": 1}, "other": {"x": 1, "y": 2, "z": 3}}


def test_strings_that_look_like_something_else_stay_strings():
    wanted = {"a": "off", "b": "1", "c": "2024-01-01", "d": "null", "e": "", "f": "x: y # z", "g": "l1\nl2\n"}
    assert read(merged("", wanted).encode()) == wanted


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "off", "1.0", "ü: #"])
values = st.recursive(
    scalars | st.lists(scalars, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
maps = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(maps, maps, maps)
def test_twice_equals_once(current: dict[str, Any], wanted: dict[str, Any], before: dict[str, Any]):
    once = copy.deepcopy(current)
    merge_maps(once, wanted, [before])
    twice = copy.deepcopy(once)
    changed, removed, _kept = merge_maps(twice, wanted, [wanted])
    assert same(twice, once)
    assert not changed and not removed


@given(maps, maps, maps)
def test_declared_values_always_win(current: dict[str, Any], wanted: dict[str, Any], before: dict[str, Any]):
    merge_maps(current, wanted, [before])
    assert contains(current, wanted)


@given(maps, maps, maps)
def test_what_was_never_declared_stays(
    current: dict[str, Any], wanted: dict[str, Any], before: dict[str, Any]
):
    result = copy.deepcopy(current)
    merge_maps(result, wanted, [before])
    for name, value in current.items():
        if name not in wanted and name not in before:
            assert same(result[name], value)


@given(maps, maps)
def test_declaring_and_taking_back_leaves_what_only_the_file_had(
    current: dict[str, Any], declared: dict[str, Any]
):
    result = copy.deepcopy(current)
    merge_maps(result, declared, [])
    merge_maps(result, {}, [declared])
    for name, value in result.items():
        assert name in current
        if not isinstance(value, dict):
            assert same(value, current[name])


@given(maps, maps, maps)
def test_files_give_the_same_as_maps(current: dict[str, Any], wanted: dict[str, Any], before: dict[str, Any]):
    raw = merge_file(b"", current).data
    assert same(read(raw), current) or not current
    outcome = merge_file(raw, wanted, [before])
    expected = copy.deepcopy(current)
    merge_maps(expected, wanted, [before])
    assert same(read(outcome.data), expected)


def contains(data: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(
        name in data
        and (
            contains(data[name], value)
            if isinstance(value, dict) and isinstance(data[name], dict)
            else same(data[name], value)
        )
        for name, value in wanted.items()
    )
