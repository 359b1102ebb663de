"""Everything that would change a managed installation refuses, and says what to write instead."""

from pathlib import Path

import pytest
from command_line import CommandLine

OPTION = "services.hermes-agent"
REFUSED = {
    "setup": f"{OPTION}.settings.model = {{",
    "config set agent.max_turns 7": f"{OPTION}.settings.agent.max_turns = 7;",
    "config set OPENAI_API_KEY sk-1": f"{OPTION}.environmentFiles = [",
    "config unset agent.max_turns": f"{OPTION}.settings.agent.max_turns = lib.mkForce null;",
    "config edit": f"{OPTION}.settings.agent.max_turns = 60;",
    "model set x": f"{OPTION}.settings.model = {{",
    "tools disable web": f"{OPTION}.settings.platform_toolsets.cli = [",
    "skills disable git-history": f'{OPTION}.settings.skills.disabled = [ "git-history" ];',
    "gateway install": f"{OPTION}.enable = true;",
    "gateway uninstall": f"{OPTION}.enable = false;",
    "update": "nix flake update hermes-agent",
}


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    found = CommandLine(tmp_path / "home")
    assert found.run("skills", "list").returncode == 0  # bundled skills are put in place at the first use
    return found


@pytest.mark.parametrize(("words", "line"), REFUSED.items(), ids=REFUSED)
def test_a_change_is_refused_with_the_line_to_write(cli: CommandLine, words: str, line: str) -> None:
    before = sorted(str(path) for path in cli.home.rglob("*"))
    refused = cli.run(*words.split(), HERMES_MANAGED="true")
    assert refused.returncode == 7
    assert "managed by NixOS" in refused.stderr
    assert "configuration.nix" in refused.stderr
    assert line in refused.stderr
    assert "sk-1" not in refused.stderr
    assert sorted(str(path) for path in cli.home.rglob("*")) == before
    quiet = cli.run(*words.split(), HERMES_MANAGED="true", HERMES_MANAGED_EXIT_ZERO="1")
    assert quiet.returncode == 0
    assert "managed by NixOS" in quiet.stderr


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_the_unit_of_a_manager_is_started_and_stopped_by_systemctl(cli: CommandLine, verb: str) -> None:
    refused = cli.run("gateway", verb, HERMES_MANAGED="true")
    assert refused.returncode == 1
    assert f"sudo systemctl {verb} hermes-agent" in refused.stderr


def test_update_names_the_command_for_this_kind_of_installation(cli: CommandLine) -> None:
    shown = cli.run("update")
    assert shown.returncode == 0
    assert "git pull" in shown.stdout


@pytest.mark.parametrize("arguments", [("config",), ("skills", "list"), ("sessions", "list"), ("version",)])
def test_reading_commands_work_when_managed(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    assert cli.run(*arguments, HERMES_MANAGED="true").returncode == 0
