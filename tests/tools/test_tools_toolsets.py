from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hermes_agent.config.paths import Home
from hermes_agent.config.sections.agent import AgentSettings
from hermes_agent.config.sections.tools import TerminalSettings, ToolOutputSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.tool import Tool
from hermes_agent.tools.toolsets import FACTORIES, TOOLSETS, WITHOUT_TOOLS, build_tools, select_tools

SETTINGS: Any = SimpleNamespace(
    terminal=TerminalSettings(), tool_output=ToolOutputSettings(), agent=AgentSettings(), custom_toolsets={}
)


def built(names: Sequence[str], home: Path) -> tuple[Tool, ...]:
    return build_tools(names, SETTINGS, Home(home), Redactor())


def test_the_default_tools_cost_less_than_four_thousand_tokens(tmp_path: Path) -> None:
    tools = built(["hermes-cli"], tmp_path)
    payload = json.dumps(
        [
            {
                "type": "function",
                "function": {"name": d.name, "description": d.description, "parameters": d.parameters},
            }
            for d in (tool.definition for tool in tools)
        ],
        ensure_ascii=False,
    )
    names = [tool.definition.name for tool in tools]
    assert names == [name for name in FACTORIES if name in names]  # those that need no service, in order
    assert {"terminal", "read_file", "patch", "todo", "clarify"} <= set(names)
    assert len(payload) / 4 < 4_000


def test_definitions_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    one, other = (json.dumps([t.definition.parameters for t in built(["all"], tmp_path)]) for _ in range(2))
    assert one == other


def test_the_parameters_are_the_documented_ones(tmp_path: Path) -> None:
    expected = {
        "terminal": "command* background timeout workdir pty notify_on_complete watch_patterns",
        "process": "action* session_id data timeout offset limit",
        "read_file": "path* offset limit",
        "write_file": "path* content*",
        "patch": "mode path old_string new_string replace_all patch",
        "search_files": "pattern* target path file_glob limit offset output_mode context",
        "todo": "todos merge",
        "clarify": "question* choices",
        "delegate_task": "goal context tasks toolsets role background",
        "execute_code": "code*",
    }
    for tool in built(["all"], tmp_path):
        schema = tool.definition.parameters
        required = schema.get("required", [])
        found = " ".join(name + "*" * (name in required) for name in schema["properties"])
        assert found == expected[tool.definition.name]
        assert tool.definition.description and tool.emoji


def test_order_does_not_depend_on_how_tools_are_named() -> None:
    assert (
        select_tools(["todo", "file", "terminal"]).tools
        == select_tools(["terminal", "file", "todo", "file"]).tools
    )


def test_names_of_toolsets_tools_and_everything_are_understood() -> None:
    assert select_tools(["all"]).tools == select_tools(["*"]).tools == tuple(FACTORIES)
    assert select_tools([" file "]).tools == ("read_file", "write_file", "patch", "search_files")
    assert select_tools(["read_file"]).tools == ("read_file",)
    assert select_tools([]).tools == ()
    assert "clarify" not in select_tools(["hermes-api-server"]).tools


def test_toolsets_without_tools_here_are_named_not_refused() -> None:
    selection = select_tools(["vision", "todo"])
    assert selection.tools == ("todo",) and selection.unavailable == ("vision",)
    assert not set(WITHOUT_TOOLS) & set(TOOLSETS)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(SettingError, match="Unknown toolset 'termnal'") as caught:
        select_tools(["termnal"])
    assert "'terminal'" in (caught.value.remedy or "")
    with pytest.raises(SettingError) as caught:
        select_tools(["qqqqq"])
    assert "file" in (caught.value.remedy or "")


def test_own_toolsets_may_contain_others_and_themselves() -> None:
    custom = {
        "mine": ["todo", "other"],
        "other": ["mine", "read_file"],
        "terminal": ["terminal", "todo"],
        "one": "file",
    }
    assert select_tools(["mine"], custom).tools == ("read_file", "todo")
    assert select_tools(["terminal"], custom).tools == ("terminal", "process", "todo")
    assert select_tools(["one"], custom).tools == TOOLSETS["file"]
    with pytest.raises(SettingError):
        select_tools(["bad"], {"bad": ["nonsense"]})


def test_every_toolset_names_tools_that_exist() -> None:
    for names in TOOLSETS.values():
        assert set(names) <= set(FACTORIES)
