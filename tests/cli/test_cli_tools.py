"""`hermes tools`: listing, turning on and off, per surface."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from command_line import CommandLine, finish
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.cli.pickers.toolsets import UNITS, enabled_tools, shortest_names
from hermes_agent.config.settings import Settings
from hermes_agent.tools.toolsets import FACTORIES, select_tools


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


def _enabled(cli: CommandLine, platform: str = "cli") -> set[str]:
    report = json.loads(cli.run("tools", "list", "--platform", platform, "--json").stdout)
    return {tool["name"] for tool in report["tools"] if tool["enabled"]}


def test_everything_is_on_in_the_terminal_of_a_fresh_home(cli: CommandLine) -> None:
    assert _enabled(cli) == set(FACTORIES)
    assert "read_file" in cli.run("tools", "list").stdout
    assert not cli.home.exists()


def test_toolset_is_turned_off_and_on_again(cli: CommandLine) -> None:
    cli.run("tools", "disable", "terminal", "todo")
    assert _enabled(cli) == set(FACTORIES) - {"terminal", "process", "todo"}
    cli.run("tools", "enable", "terminal", "todo")
    assert _enabled(cli) == set(FACTORIES)


def test_surfaces_have_their_own_lists(cli: CommandLine) -> None:
    cli.run("tools", "disable", "terminal", "--platform", "telegram")
    assert _enabled(cli) == set(FACTORIES)
    assert "terminal" not in _enabled(cli, "telegram")
    config = yaml.safe_load((cli.home / "config.yaml").read_text())
    assert set(config["platform_toolsets"]) == {"telegram"}


def test_single_tool_is_turned_off(cli: CommandLine) -> None:
    cli.run("tools", "disable", "write_file")
    assert "write_file" not in _enabled(cli)
    assert "read_file" in _enabled(cli)


def test_names_without_tools_in_this_version_stay_in_the_file(cli: CommandLine) -> None:
    cli.write("config.yaml", "platform_toolsets: {cli: [vision, file, todo]} # mine\n")
    assert cli.run("tools", "disable", "todo").returncode == 0
    config = yaml.safe_load((cli.home / "config.yaml").read_text())
    assert set(config["platform_toolsets"]["cli"]) == {"file", "vision"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("disable", "terminl"), 3, "terminal"),
        (("enable", "vision"), 2, "no tools in this version"),
        (("disable", "todo", "--platform", "fax"), 2, "telegram"),
        (("enable",), 2, "NAME"),
        (("disable", "process"), 2, "only go together"),
    ],
)
def test_mistakes_are_explained_and_change_nothing(
    cli: CommandLine, arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = cli.run("tools", *arguments)
    assert result.returncode == code, result.stderr
    assert words in result.stderr
    assert not (cli.home / "config.yaml").exists()


def test_doing_it_twice_is_said_and_harmless(cli: CommandLine) -> None:
    assert "Already on" in cli.run("tools", "enable", "todo").stdout
    assert not (cli.home / "config.yaml").exists()


def test_managed_installation_refuses_with_the_line_to_write(cli: CommandLine) -> None:
    result = cli.run("tools", "disable", "todo", HERMES_MANAGED="true")
    assert result.returncode == 7
    line = next(line for line in result.stderr.splitlines() if "platform_toolsets.cli = [" in line)
    assert '"terminal" "file" "clarify"' in line and '"todo"' not in line and line.endswith("];")
    assert cli.run("tools", "list", HERMES_MANAGED="true").returncode == 0


def test_check_list_turns_tools_off_in_a_terminal(cli: CommandLine) -> None:
    child = cli.spawn("tools")
    child.expect_exact("Tools of cli")
    child.send("write")
    child.expect_exact("[x] write_file")
    child.send(" \r")
    child.expect_exact("On in cli")
    assert finish(child) == 0
    assert _enabled(cli) == set(FACTORIES) - {"write_file"}


@pytest.mark.parametrize("keys", [" \x1b", " \x03", "\r"])
def test_leaving_the_check_list_changes_nothing(cli: CommandLine, keys: str) -> None:
    child = cli.spawn("tools")
    child.expect_exact("[x] terminal")
    child.send(keys)
    assert finish(child) in (0, 130)
    assert not (cli.home / "config.yaml").exists()


def test_plain_terminal_gets_numbers(cli: CommandLine) -> None:
    child = cli.spawn("tools", TERM="dumb")
    child.expect_exact("x  1. terminal, process")
    child.expect_exact("Enter accepts")
    child.sendline("1")
    child.expect_exact("Enter accepts")
    child.sendline("")
    assert finish(child) == 0
    assert _enabled(cli) == set(FACTORIES) - {"terminal", "process"}


@given(st.sets(st.sampled_from(UNITS)), st.sampled_from(["cli", "webhook", "api-server"]))
def test_shortest_names_mean_exactly_the_same_tools(
    units: set[tuple[str, tuple[str, ...]]], platform: str
) -> None:
    tools = {tool for _, members in units for tool in members}
    names = shortest_names(tools, platform)
    assert set(select_tools(names).tools) == tools
    settings = Settings({"platform_toolsets": {platform: names}})
    assert set(enabled_tools(settings, platform)) == tools


def test_surface_with_everything_turned_off_offers_nothing(cli: CommandLine) -> None:
    cli.run("tools", "disable", "all")
    assert _enabled(cli) == set()
    answer = cli.run("-z", "list the files here", "--provider", "demo")
    assert "Traceback" not in answer.stderr
    assert cli.home.name not in answer.stdout


def test_where_nobody_can_choose_the_list_is_printed(cli: CommandLine) -> None:
    shown = cli.run("tools")
    assert shown.returncode == 0
    assert shown.stdout == cli.run("tools", "list").stdout


def test_every_tool_is_listed_once_with_a_description(cli: CommandLine) -> None:
    lines = [line for line in cli.run("tools", "list").stdout.splitlines() if line.startswith("  ")]
    names = [line.split()[1] for line in lines]
    assert sorted(names) == sorted(FACTORIES)
    assert all(len(line.split()) > 3 for line in lines), lines
