"""Reading scripts: what is accepted, and errors that say where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.errors import ConfigFileError
from hermes_agent.models.scripted.script import (
    CutScript,
    ErrorScript,
    Expect,
    GarbageScript,
    Script,
    Step,
    ToolCallScript,
    UsageScript,
    When,
)
from hermes_agent.models.scripted.source import load_script
from hermes_agent.models.scripted.template import _FILTERS, NAMES, check_templates, render, render_value


def test_a_plain_list_of_texts_is_a_script() -> None:
    script = load_script("- hello\n- text: [a, b]\n  times: 3\n")
    assert [step.text for step in script.steps] == [("hello",), ("a", "b")]
    assert script.steps[1].times == 3


def test_match_is_another_word_for_when() -> None:
    script = load_script("rules:\n- {match: {user: hi}, text: a}\n- {when: {user: ho}, text: b}")
    assert [rule.when.user for rule in script.rules if rule.when] == ["hi", "ho"]


def test_shorthands_give_the_same_as_maps() -> None:
    short = load_script(
        [{"text": "a", "cut": 2}, {"hang": True}, {"garbage": True}, {"error": 503}, {"usage": "none"}]
    )
    long = load_script(
        [
            {"text": "a", "cut": {"after_events": 2}},
            {"hang": {"after_events": None}},
            {"garbage": {}},
            {"error": {"status": 503}},
            {"usage": {"reported": False}},
        ]
    )
    assert short == long


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("- text: a\n- texd: b\n", 2, "2: unknown key 'texd'"),
        ("steps:\n- text: a\n  finish_reason: never\n", 3, "steps.1.finish_reason"),
        ("steps:\n- tool_calls:\n  - nam: x\n    arguments: {}\n", 3, "steps.1.tool_calls.1"),
        ("- text: a\n  when:\n    user: '['\n", 3, "not a regular expression"),
        ("- text: a\n  match:\n    user: '('\n", 3, "not a regular expression"),
        ("- text: '{{nonsense}}'\n", 1, "unknown name in {{nonsense}}"),
        ("- text: '{{user | shout}}'\n", 1, "unknown filter 'shout'"),
        (
            "- tool_calls:\n  - name: x\n    arguments:\n      a: ['{{oops}}']\n",
            2,
            "unknown name in {{oops}}",
        ),
        ("- text: a\n  error: 200\n", 2, "error"),
        ("- text: a\n  error: 500\n  cut: 1\n", 1, "only one of error, cut"),
        ("- text: a\n  cut: tool_call\n", 1, "cut: tool_call needs tool_calls"),
        (
            "- text: a\n  cut: {after_events: 1, in_tool_call: true}\n",
            2,
            "either after_events or in_tool_call",
        ),
        ("- text: a\n  times: 0\n", 2, "times"),
        ("- text: a\n  delay_seconds: -1\n", 2, "delay_seconds"),
        ("- text: a\n  text: b\n", 2, "'text' is given twice"),
        ("steps: []\n", 1, "a script needs steps or rules"),
        ("- text: [a\n", 2, "not YAML"),
        ("- text: a\n\tb: c\n", 2, "not YAML"),
        ("- text: !!python/object:os.system x\n", 1, "not YAML"),
        ("just words", 1, ""),
        ("42", 1, ""),
    ],
)
def test_a_mistake_is_reported_with_file_line_and_reason(
    text: str, line: int, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigFileError) as caught:
        load_script(path)
    assert caught.value.line == line
    assert caught.value.path == path
    assert caught.value.message.startswith(f"{path}:{line}:")
    assert message in caught.value.message
    assert caught.value.exit_code == 3


def test_a_misspelt_key_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigFileError) as caught:
        load_script("- text: a\n  chunksize: 3\n")
    assert caught.value.why == "Did you mean 'chunk_size'?"


@pytest.mark.parametrize("content", [b"", b"# only a comment\n", b"\xff\xfe- a", b"&a [*a]", b"[" * 5000])
def test_useless_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigFileError):
        load_script(path)


def test_missing_files_and_directories_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.yaml"):
        with pytest.raises(ConfigFileError, match="Cannot read the script"):
            load_script(path)


@given(st.text(max_size=80))
def test_any_text_is_a_script_or_a_clear_error(text: str) -> None:
    try:
        load_script(text)
    except ConfigFileError as error:
        assert error.message


def test_templates_take_values_fields_and_filters() -> None:
    values = {
        "user": "Hi\nthere",
        "tool_result": '{"id": "proc_1", "n": [1, {"x": null}]}',
        "match": ["ab", "b"],
    }
    assert (
        render("{{user}}|{{ user | line }}|{{user|lines}}|{{user | upper|first:2}}", values)
        == "Hi\nthere|Hi|2|HI"
    )
    assert render("{{tool_result.id}} {{tool_result.n.0}} {{tool_result.n.1.x}}.", values) == "proc_1 1 ."
    assert render("{{match.1}} {{match.9}}.", values) == "b ."
    assert render(r"{{tool_result | find:proc_\d+}} {{tool_result|find:n...(.)1}}", values) == "proc_1 ["
    assert render("{{user|json}}", values) == '"Hi\\nthere"'
    assert render("{{user|last:2}}{{session}}", values) == "re"


def test_an_argument_that_is_one_number_template_becomes_a_number() -> None:
    values = {"round": "3", "user": "007"}
    assert render_value({"a": "{{round}}", "b": ["n{{round}}", 1, None], "c": "{{user}}"}, values) == {
        "a": 3,
        "b": ["n3", 1, None],
        "c": "007",
    }


@pytest.mark.parametrize(
    "text", ["{{}}", "{{User}}", "{{user|first}}", "{{user|first:x}}", "{{user|find:(}}", "{{user|line:2}}"]
)
def test_bad_templates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_templates(text)


def test_the_documentation_shows_working_scripts_and_names_every_key() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "scripted-model.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        assert load_script(example)
    sections = (
        Script,
        Step,
        ToolCallScript,
        When,
        Expect,
        UsageScript,
        ErrorScript,
        CutScript,
        GarbageScript,
    )
    for section in sections:
        for name in section.model_fields:
            assert re.search(rf"`[^`]*\b{name}\b[^`]*`", page), f"{section.__name__}.{name} is not documented"
    for name in (*NAMES, *_FILTERS):
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", page), f"template word {name} is not documented"
