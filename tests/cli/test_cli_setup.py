"""`hermes setup` in a real terminal: every step, every way out, and no secret on the screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest
import yaml
from command_line import CommandLine, finish

if TYPE_CHECKING:
    from conftest import StartServer

KEY = "sk-test-0123456789abcdef0123456789abcdef"
ESCAPE, CTRL_C = "\x1b", "\x03"


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


def _config(cli: CommandLine) -> dict[str, Any]:
    return yaml.safe_load((cli.home / "config.yaml").read_text())


def _steps(child: pexpect.spawn, *steps: tuple[str, str]) -> None:
    """Wait for a text, then send keys, for each pair."""
    for expected, keys in steps:
        child.expect_exact(expected)
        child.send(keys)


def test_whole_wizard_connects_tests_and_saves(cli: CommandLine, model_server: StartServer) -> None:
    server = model_server({"api_key": KEY, "rules": [{"text": "Hello, I am scripted."}]})
    child = cli.spawn("setup")
    screen = (cli.home.parent / "screen").open("w")
    child.logfile_read = screen
    _steps(
        child,
        ("Provider", "another\r"),
        ("Address", f"{server.base_url}\r"),
        ("Key, if it needs one", f"{KEY}\r"),
        ("scripted", "\r"),
        ("Where commands run", "\r"),
        ("Tools of cli", "\r"),
        ("Risky commands", "ask a model\r"),
        ("real request?", "\r"),
    )
    child.expect_exact("Hello, I am scripted.")
    child.expect("all after [0-9.]+ s")
    child.expect_exact("approvals.mode")
    _steps(child, ("Save it?", "\r"))
    child.expect_exact("hermes chat")
    assert finish(child) == 0
    screen.close()
    config = _config(cli)
    assert config["model"] == {
        "provider": "custom",
        "default": "scripted",
        "base_url": server.base_url,
        "api_key": "${CUSTOM_API_KEY}",
    }
    assert config["approvals"] == {"mode": "smart"}
    assert f"CUSTOM_API_KEY={KEY}" in (cli.home / ".env").read_text()
    shown = (cli.home.parent / "screen").read_text()
    assert KEY[:12] not in shown
    assert KEY[-12:] not in shown
    again = cli.run("-z", "hello")
    assert again.stdout.strip() == "Hello, I am scripted.", again.stderr


@pytest.mark.parametrize("place", range(7))
def test_ctrl_c_at_any_question_leaves_everything_as_it_was(cli: CommandLine, place: int) -> None:
    cli.write("config.yaml", "# mine\nagent: {max_turns: 3}\n")
    cli.write(".env", "OTHER=1\n")
    before = {path.name: path.read_bytes() for path in cli.home.iterdir() if path.is_file()}
    steps = [
        ("Provider", "demo\r"),
        ("Where commands run", "docker\r"),
        ("Image", "\r"),
        ("Tools of cli", " \r"),
        ("Risky commands", "never\r"),
        ("real request?", "\r"),
        ("Save it?", "\r"),
    ]
    child = cli.spawn("setup")
    _steps(child, *steps[:place], (steps[place][0], CTRL_C))
    assert finish(child) == 130
    assert "Traceback" not in (child.before or "")
    assert {path.name: path.read_bytes() for path in cli.home.iterdir() if path.is_file()} == before


def test_every_step_can_be_skipped(cli: CommandLine) -> None:
    child = cli.spawn("setup")
    _steps(
        child,
        ("Provider", ESCAPE),
        ("Where commands run", ESCAPE),
        ("Tools of cli", ESCAPE),
        ("Risky commands", ESCAPE),
    )
    child.expect_exact("Nothing was changed")
    assert finish(child) == 0
    assert not (cli.home / "config.yaml").exists()


def test_saying_no_at_the_end_changes_nothing(cli: CommandLine) -> None:
    child = cli.spawn("setup", "model")
    _steps(child, ("Provider", "demo\r"), ("real request?", "n\r"), ("Save it?", "n\r"))
    assert finish(child) == 0
    assert not (cli.home / "config.yaml").exists()


def test_one_section_asks_only_its_questions(cli: CommandLine) -> None:
    child = cli.spawn("setup", "approvals")
    _steps(child, ("Risky commands", "never\r"), ("Save it?", "\r"))
    assert finish(child) == 0
    assert cli.run("config", "get", "approvals.mode").stdout == "off\n"


def test_ssh_back_end_is_asked_for_its_host(cli: CommandLine) -> None:
    child = cli.spawn("setup", "terminal")
    _steps(
        child,
        ("Where commands run", "another\r"),
        ("Host", "build.example.org\r"),
        ("User", "me\r"),
        ("Private key file", "/nowhere/key\r"),
        ("There is no file", ""),
        ("Save it?", "\r"),
    )
    assert finish(child) == 0
    assert _config(cli)["terminal"] == {
        "backend": "ssh",
        "ssh_host": "build.example.org",
        "ssh_user": "me",
        "ssh_key": "/nowhere/key",
    }


def test_failing_test_offers_another_choice_and_shows_no_key(
    cli: CommandLine, model_server: StartServer
) -> None:
    server = model_server({"api_key": "the right one", "rules": [{"text": "x"}]})
    child = cli.spawn("setup", "model")
    _steps(
        child,
        ("Provider", "another\r"),
        ("Address", f"{server.base_url}\r"),
        ("Key, if it needs one", f"{KEY}\r"),
        ("Model", "scripted\r"),
        ("real request?", "\r"),
        ("It did not answer", "other\r"),
        ("Provider", "demo\r"),
        ("real request?", "\r"),
    )
    child.expect_exact("all after")
    assert KEY not in (child.before or "")
    _steps(child, ("Save it?", "\r"))
    assert finish(child) == 0
    assert _config(cli)["model"] == {"provider": "demo", "default": "demo"}
    assert not (cli.home / ".env").exists(), "the key of an abandoned choice is not kept"


def test_quick_asks_nothing_that_can_be_found_out(cli: CommandLine, model_server: StartServer) -> None:
    server = model_server({"rules": [{"text": "Quick."}]})
    child = cli.spawn("setup", "--quick", OPENROUTER_API_KEY=KEY, OPENROUTER_BASE_URL=server.base_url)
    child.expect_exact("Found: openrouter:")
    _steps(child, ("real request?", "\r"), ("Save it?", "\r"))
    assert finish(child) == 0
    assert _config(cli)["model"]["provider"] == "openrouter"


def test_without_questions_it_takes_the_key_it_finds(cli: CommandLine, model_server: StartServer) -> None:
    server = model_server({"api_key": KEY, "rules": [{"text": "Found."}]})
    extra = {"OPENROUTER_API_KEY": KEY, "OPENROUTER_BASE_URL": server.base_url}
    result = cli.run("setup", "--non-interactive", **extra)
    assert result.returncode == 0, result.stderr
    assert "Found." in result.stdout
    assert "all after" in result.stdout
    assert KEY not in result.stdout + result.stderr
    assert _config(cli)["model"]["provider"] == "openrouter"
    assert not (cli.home / ".env").exists(), "a key of the environment stays there"


def test_without_questions_a_wrong_key_changes_nothing(cli: CommandLine, model_server: StartServer) -> None:
    server = model_server({"api_key": "another", "rules": [{"text": "x"}]})
    extra = {"OPENROUTER_API_KEY": KEY, "OPENROUTER_BASE_URL": server.base_url}
    result = cli.run("setup", "--non-interactive", **extra)
    assert result.returncode == 4
    assert "nothing was changed" in result.stderr
    assert KEY not in result.stdout + result.stderr
    assert not (cli.home / "config.yaml").exists()


def test_without_questions_and_without_a_model_it_says_what_to_do(cli: CommandLine) -> None:
    result = cli.run("setup", "--non-interactive")
    if result.returncode == 0:
        pytest.skip("a model server runs on this machine")
    assert result.returncode == 4
    assert "OPENROUTER_API_KEY" in result.stderr


def test_without_a_terminal_it_says_how_to_run_it(cli: CommandLine) -> None:
    result = cli.run("setup")
    assert result.returncode == 2
    assert "--non-interactive" in result.stderr


def test_reset_begins_anew_and_keeps_a_copy_even_of_a_broken_file(cli: CommandLine) -> None:
    cli.write("config.yaml", "agent: [broken\n")
    refused = cli.run("setup", "--non-interactive", "--no-test", OPENROUTER_API_KEY=KEY)
    assert refused.returncode == 3
    assert "setup --reset" in refused.stderr
    result = cli.run("setup", "--non-interactive", "--no-test", "--reset", OPENROUTER_API_KEY=KEY)
    assert result.returncode == 0, result.stderr
    assert set(_config(cli)) <= {"model", "_config_version"}
    copies = list((cli.home / "backups").glob("config.yaml*"))
    assert [copy.read_text() for copy in copies] == ["agent: [broken\n"]


@pytest.mark.parametrize("arguments", [(), ("--non-interactive",), ("model", "--reset")])
def test_managed_installation_refuses(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    cli.write(".managed", "")
    result = cli.run("setup", *arguments, OPENROUTER_API_KEY=KEY)
    assert result.returncode == 7
    assert "managed by NixOS" in result.stderr
    assert [path.name for path in cli.home.iterdir()] == [".managed"]


def test_read_only_place_is_told_and_nothing_is_half_written(cli: CommandLine) -> None:
    cli.home.write_text("in the way")
    result = cli.run("setup", "--non-interactive", "--no-test", OPENROUTER_API_KEY=KEY)
    assert result.returncode in (3, 5)
    assert "Traceback" not in result.stderr
    assert cli.home.read_text() == "in the way"


def test_plain_terminal_is_enough(cli: CommandLine) -> None:
    child = cli.spawn("setup", "model", TERM="dumb")
    _steps(child, ("Provider (a number", "demo\n"), ("real request?", "y\n"))
    child.expect_exact("all after")
    _steps(child, ("Save it?", "y\n"))
    assert finish(child) == 0
    assert _config(cli)["model"]["provider"] == "demo"
