"""`hermes model`: listing, setting, and picking in a real terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from command_line import CommandLine, finish

from hermes_agent.cli.pickers.model_choice import ModelChoice, current_provider, split_choice
from hermes_agent.config.settings import Settings

if TYPE_CHECKING:
    from conftest import StartServer

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
DOWN, ESCAPE = "\x1b[B", "\x1b"


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


def _config(cli: CommandLine) -> dict[str, object]:
    return yaml.safe_load((cli.home / "config.yaml").read_text())


def test_list_names_every_provider_and_what_it_needs(cli: CommandLine) -> None:
    rows = json.loads(cli.run("model", "list", "--offline", "--json", GLM_API_KEY=KEY).stdout)
    states = {row["id"]: row["state"] for row in rows}
    assert states["zai"] == "ready"
    assert states["openrouter"] == "needs a key"
    assert states["demo"] == "ready"
    assert states["ollama"] == "not running"
    assert states["bedrock"] == "not in this version"
    assert KEY not in cli.run("model", "list", "--offline", GLM_API_KEY=KEY).stdout


def test_models_of_an_endpoint_are_asked_for(cli: CommandLine, model_server: StartServer) -> None:
    server = model_server()
    cli.write("config.yaml", f"custom_providers:\n- name: lab\n  base_url: {server.base_url}\n")
    names = cli.run("model", "list", "--provider", "custom:lab").stdout.splitlines()
    assert "echo" in names
    assert names == sorted(names)


def test_unreachable_endpoint_and_unknown_provider_are_told(cli: CommandLine) -> None:
    cli.write("config.yaml", "custom_providers:\n- {name: lab, base_url: 'http://127.0.0.1:9/v1'}\n")
    unreachable = cli.run("model", "list", "--provider", "custom:lab")
    assert unreachable.returncode == 4
    assert "127.0.0.1:9" in unreachable.stderr
    unknown = cli.run("model", "list", "--provider", "opnrouter")
    assert unknown.returncode == 4
    assert "openrouter" in unknown.stderr


def test_set_writes_provider_and_model_and_keeps_comments(cli: CommandLine) -> None:
    cli.write("config.yaml", "# mine\nagent:\n  max_turns: 7 # few\n")
    result = cli.run("model", "set", "openrouter:some/model", OPENROUTER_API_KEY=KEY)
    assert result.stdout == "Model: openrouter:some/model\n"
    text = (cli.home / "config.yaml").read_text()
    assert "# mine" in text
    assert "# few" in text
    assert _config(cli)["model"] == {"provider": "openrouter", "default": "some/model"}


def test_set_without_a_key_saves_and_says_what_is_missing(cli: CommandLine) -> None:
    result = cli.run("model", "set", "openrouter:some/model")
    assert result.returncode == 0
    assert "OPENROUTER_API_KEY" in result.stderr
    assert _config(cli)["model"] == {"provider": "openrouter", "default": "some/model"}


def test_address_and_key_of_the_old_provider_do_not_outlive_it(cli: CommandLine) -> None:
    cli.write(
        "config.yaml",
        "model:\n  provider: custom\n  default: x\n  base_url: http://127.0.0.1:9/v1\n"
        "  api_key: ${MINE}\n  context_length: 1000\n  reasoning_effort: low\n",
    )
    cli.run("model", "set", "openrouter:a/b", OPENROUTER_API_KEY=KEY)
    assert _config(cli)["model"] == {"provider": "openrouter", "default": "a/b", "reasoning_effort": "low"}


def test_window_of_another_model_does_not_outlive_it_but_the_address_does(cli: CommandLine) -> None:
    cli.write(
        "config.yaml",
        "model:\n  provider: custom\n  default: x\n  base_url: http://127.0.0.1:9/v1\n  context_length: 9\n",
    )
    cli.run("model", "set", "y")
    assert _config(cli)["model"] == {
        "provider": "custom",
        "default": "y",
        "base_url": "http://127.0.0.1:9/v1",
    }


@pytest.mark.parametrize("text", ["opnrouter:x", ":x", "openrouter:"])
def test_wrong_names_change_nothing(cli: CommandLine, text: str) -> None:
    cli.write("config.yaml", "model: demo:demo\n")
    if text == "openrouter:":
        assert cli.run("model", "set", text).returncode == 0  # the provider's default model
        return
    result = cli.run("model", "set", text)
    assert result.returncode in (2, 4)
    assert (cli.home / "config.yaml").read_text() == "model: demo:demo\n"


def test_own_endpoint_is_set_by_its_address(cli: CommandLine) -> None:
    result = cli.run("model", "set", "my-model", "--base-url", "http://127.0.0.1:9/v1")
    assert result.stdout == "Model: custom:my-model\n"
    bad = cli.run("model", "set", "my-model", "--base-url", "ftp://x")
    assert bad.returncode == 4
    assert "http" in bad.stderr


def test_managed_installation_refuses_and_names_the_option(cli: CommandLine) -> None:
    cli.write(".managed", "")
    result = cli.run("model", "set", "demo:demo")
    assert result.returncode == 7
    assert "managed by NixOS" in result.stderr
    assert "services.hermes-agent.settings.model" in result.stderr
    child = cli.spawn("model")
    child.expect_exact("managed by NixOS")
    assert finish(child) == 7
    assert not (cli.home / "config.yaml").exists()


def test_show_names_endpoint_and_source_of_the_key(cli: CommandLine) -> None:
    cli.write("config.yaml", "model: openrouter:a/b\n")
    facts = json.loads(cli.run("model", "show", "--json", OPENROUTER_API_KEY=KEY).stdout)
    assert facts["label"] == "openrouter:a/b"
    assert facts["key"] == "OPENROUTER_API_KEY"
    assert KEY not in json.dumps(facts)
    assert "openrouter.ai" in cli.run("model", "show", OPENROUTER_API_KEY=KEY).stdout


def test_without_a_terminal_it_asks_nothing(cli: CommandLine) -> None:
    result = cli.run("model")
    assert result.returncode == 4
    assert "hermes setup" in result.stderr


def test_picking_with_arrows_and_filter_stores_key_and_model(cli: CommandLine) -> None:
    child = cli.spawn("model")
    child.expect_exact("Provider")
    child.send("deepseek")
    child.expect_exact("DeepSeek")
    child.send("\r")
    child.expect_exact("DEEPSEEK_API_KEY)")
    child.send(f"{KEY}\r")
    child.expect_exact("show all models")
    child.send("\r")
    child.expect_exact("Model: deepseek:deepseek-chat")
    assert finish(child) == 0
    assert _config(cli)["model"] == {"provider": "deepseek", "default": "deepseek-chat"}
    env = cli.home / ".env"
    assert f"DEEPSEEK_API_KEY={KEY}" in env.read_text()
    assert env.stat().st_mode & 0o777 == 0o600


def test_typed_key_never_appears_on_the_screen(cli: CommandLine) -> None:
    child = cli.spawn("model")
    log = (cli.home.parent / "screen").open("w")
    child.logfile_read = log
    child.expect_exact("Provider")
    child.send("deepseek\r")
    child.expect_exact("DEEPSEEK_API_KEY)")
    child.send(f"{KEY}\r")
    child.expect_exact("show all models")
    child.sendcontrol("c")
    finish(child)
    log.close()
    screen = (cli.home.parent / "screen").read_text()
    assert KEY[:8] not in screen
    assert KEY[-8:] not in screen


def test_list_of_an_own_endpoint_is_offered(cli: CommandLine, model_server: StartServer) -> None:
    server = model_server()
    child = cli.spawn("model")
    child.expect_exact("Provider")
    child.send("another endpoint\r")
    child.expect_exact("Address")
    child.send(f"{server.base_url.removeprefix('http://')}\r")
    child.expect_exact("Key, if it needs one")
    child.send("\r")
    child.expect_exact("tokens-100")
    child.send("echo\r")
    child.expect_exact("Model: custom:echo")
    finish(child)
    assert _config(cli)["model"] == {"provider": "custom", "default": "echo", "base_url": server.base_url}


@pytest.mark.parametrize(
    "steps",
    [
        [ESCAPE],
        ["\x03"],
        ["deepseek\r", "\x03"],
        ["deepseek\r", "\r"],
        ["deepseek\r", "\x04"],
        ["demo m", "\x03"],
    ],
)
def test_leaving_at_any_step_changes_nothing(cli: CommandLine, steps: list[str]) -> None:
    cli.write("config.yaml", "agent: {max_turns: 3}\n")
    before = {path.name: path.read_bytes() for path in cli.home.iterdir() if path.is_file()}
    child = cli.spawn("model")
    child.expect_exact("Provider")
    for step in steps:
        child.send(step)
        if "deepseek" in step:
            child.expect_exact("DEEPSEEK_API_KEY)")
    assert finish(child) in (0, 130)
    assert {path.name: path.read_bytes() for path in cli.home.iterdir() if path.is_file()} == before


def test_plain_terminal_gets_numbers(cli: CommandLine) -> None:
    child = cli.spawn("model", TERM="dumb")
    child.expect_exact("Demo model")
    child.expect_exact("Provider (a number")
    child.sendline("999")
    child.expect_exact("Please type a number")
    child.sendline("demo")
    child.expect_exact("Model: demo:demo")
    assert finish(child) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("openrouter:a/b", ModelChoice("openrouter", "a/b")),
        ("OR:a/b", ModelChoice("openrouter", "a/b")),
        ("custom:lab:m:1", ModelChoice("custom:lab", "m:1")),
        ("lab:m", ModelChoice("custom:lab", "m")),
        ("qwen3:8b", ModelChoice("ollama", "qwen3:8b")),
        ("fast", ModelChoice("xai", "grok-4-fast")),
        ("plain", ModelChoice("ollama", "plain")),
    ],
)
def test_words_people_type_are_understood(text: str, expected: ModelChoice) -> None:
    settings = Settings(
        {
            "model": {"provider": "ollama", "default": "x"},
            "custom_providers": [{"name": "lab", "base_url": "http://127.0.0.1:9/v1"}],
            "model_aliases": {"fast": "xai:grok-4-fast"},
        }
    )
    assert split_choice(text, settings) == expected


def test_provider_may_stand_in_the_default(tmp_path: Path) -> None:
    assert current_provider(Settings({"model": {"default": "openrouter:a/b"}})) == "openrouter"
    assert current_provider(Settings({"model": {"default": "qwen3:8b"}})) == "auto"
    assert current_provider(Settings()) == "auto"


def test_choice_does_not_show_its_key() -> None:
    assert KEY not in repr(ModelChoice("x", "y", key_name="X", key=KEY))


def test_where_nobody_can_choose_the_model_is_shown(cli: CommandLine) -> None:
    cli.write("config.yaml", "model: {provider: demo}\n")
    shown = cli.run("model")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == cli.run("model", "show").stdout
    assert "demo:demo" in shown.stdout
