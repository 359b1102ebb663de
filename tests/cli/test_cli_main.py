"""The command table, its help and its errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine

from hermes_agent.cli.table import COMMANDS
from hermes_agent.core.loading import load


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_of_the_table_exists_and_has_help(entry: object) -> None:
    command = load(entry.path)  # type: ignore[attr-defined]
    assert command.name == entry.name  # type: ignore[attr-defined]
    assert command.help


def test_help_lists_every_command_and_the_exit_codes(cli: CommandLine) -> None:
    shown = cli.run("--help")
    assert shown.returncode == 0
    for entry in COMMANDS:
        assert f"\n  {entry.name} " in shown.stdout
    assert "130  interrupted" in shown.stdout
    assert cli.run("-h").stdout == shown.stdout
    assert cli.run("help").stdout == shown.stdout


def test_help_of_a_command_can_be_asked_either_way(cli: CommandLine) -> None:
    assert cli.run("help", "chat").stdout == cli.run("chat", "--help").stdout


def test_an_unknown_command_names_the_nearest(cli: CommandLine) -> None:
    shown = cli.run("sesions")
    assert shown.returncode == 2
    assert "sessions" in shown.stderr
    assert shown.stdout == ""


def test_a_question_typed_as_a_command_is_explained(cli: CommandLine) -> None:
    shown = cli.run("fix the tests")
    assert shown.returncode == 2
    assert "-q" in shown.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--frobnicate",), ("chat", "--max-turns", "0"), ("-z", "a", "-q", "b"), ("-r", "x", "-c"), ("--json",)],
)
def test_wrong_usage_is_at_most_three_lines_and_exit_code_2(
    cli: CommandLine, arguments: tuple[str, ...]
) -> None:
    shown = cli.run(*arguments)
    assert shown.returncode == 2
    assert 1 <= len(shown.stderr.strip().splitlines()) <= 3
    assert shown.stdout == ""


def test_options_may_stand_before_or_behind_the_command(cli: CommandLine) -> None:
    before = cli.run("--provider", "demo", "chat", "-Q", "-q", "hello")
    behind = cli.run("chat", "-Q", "-q", "hello", "--provider", "demo")
    assert before.returncode == behind.returncode == 0
    assert before.stdout == behind.stdout


def test_continue_does_not_swallow_the_name_of_a_command(cli: CommandLine) -> None:
    cli.run("-z", "hello", "--provider", "demo")
    shown = cli.run("-c", "chat", "-Q", "-q", "hello", "--provider", "demo")
    assert shown.returncode == 0, shown.stderr


def test_an_error_of_ours_is_one_line_a_log_and_exit_code_70(cli: CommandLine) -> None:
    code = (
        "import sys; from hermes_agent.cli import main as m;"
        "import click; m.root.callback = None;"
        "m._ENTRIES['chat'] = m._ENTRIES['chat'].__class__('chat', 'broken_on_purpose:command', 'x');"
        "import types; mod = types.ModuleType('broken_on_purpose');"
        "mod.command = click.Command('chat', callback=lambda: 1 / 0); sys.modules['broken_on_purpose'] = mod;"
        "import os; sys.exit(m.main(sys.argv[1:], os.environ))"
    )
    import subprocess
    import sys

    for flags, has_traceback in (((), False), (("--debug",), True)):
        shown = subprocess.run(
            [sys.executable, "-c", code, *flags, "chat"],
            env=cli.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 70
        assert ("Traceback" in shown.stderr) is has_traceback
        assert "ZeroDivisionError" in shown.stderr
    log = (cli.home / "logs" / "errors.log").read_text(encoding="utf-8")
    assert "ZeroDivisionError" in log


def test_a_home_that_is_a_file_is_explained(cli: CommandLine) -> None:
    cli.home.write_text("not a directory")
    shown = cli.run("-z", "hello", "--provider", "demo")
    assert shown.returncode in (3, 5)
    assert "Not a directory" in shown.stderr or "not a directory" in shown.stderr


def test_colour_obeys_the_environment(cli: CommandLine) -> None:
    plain = cli.run("nonsense").stderr
    assert "\x1b" not in plain
    assert "\x1b[" in cli.run("nonsense", FORCE_COLOR="1").stderr
    assert "\x1b" not in cli.run("nonsense", FORCE_COLOR="1", NO_COLOR="1").stderr
