"""Completion in real shells, in a real terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from command_line import CommandLine

PROMPT = "READY> "


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    program = binaries / "hermes"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hermes_agent "$@"\n')
    program.chmod(0o755)
    return CommandLine(tmp_path / "home", {"PATH": f"{binaries}:{os.environ['PATH']}"})


def _shell(cli: CommandLine, program: str, *arguments: str, setup: str, **extra: str) -> pexpect.spawn:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    child = pexpect.spawn(
        program,
        list(arguments),
        env=cli.environment(**extra),
        cwd=str(cli.home.parent),
        encoding="utf-8",
        timeout=20,
        dimensions=(40, 120),
    )
    child.delaybeforesend = None
    child.sendline(setup)
    child.expect_exact(PROMPT)
    return child


def _bash(cli: CommandLine) -> pexpect.spawn:
    setup = (
        "bind 'set show-all-if-ambiguous on'; bind 'set bell-style none'; "
        "bind 'set completion-query-items 0'; "
        "bind 'set enable-bracketed-paste off'; "
        'PS1="REA""DY> "; eval "$(hermes completion bash)"'
    )
    return _shell(cli, "bash", "--norc", "--noprofile", "-i", setup=setup)


def _end(child: pexpect.spawn) -> None:
    child.sendcontrol("c")
    child.close(force=True)


def test_bash_completes_commands_options_and_values(cli: CommandLine) -> None:
    child = _bash(cli)
    child.send("hermes compl\t")
    child.expect_exact("completion ")
    child.send("fi\t")
    child.expect_exact("fish ")
    child.sendcontrol("u")
    child.send("hermes logs --lev\t")
    child.expect_exact("--level ")
    child.send("\t")
    child.expect("debug.*info.*warning.*error.*critical")
    _end(child)


def test_bash_lists_every_command(cli: CommandLine) -> None:
    child = _bash(cli)
    child.send("hermes \t\t")
    child.expect("chat.*version")
    _end(child)


def test_bash_keeps_what_stands_before_a_colon(cli: CommandLine) -> None:
    child = _bash(cli)
    child.send("hermes model set openr\t")
    child.expect_exact("openrouter:")
    child.send("openai/gpt-5.1\t")
    child.sendline(" --help; echo 'line was:' $?")
    child.expect_exact("line was: 0")
    _end(child)


def test_zsh_completes_commands_options_and_values(cli: CommandLine) -> None:
    setup = 'autoload -Uz compinit && compinit -u; PS1="REA""DY> "; eval "$(hermes completion zsh)"'
    child = _shell(cli, "zsh", "-f", "-i", setup=setup, TERM="dumb")
    child.send("hermes compl\t")
    child.expect_exact("completion")
    child.send("fi\t")
    child.expect("fi.*sh")
    child.sendcontrol("u")
    child.send("hermes logs --\t")
    child.expect_exact("--component")
    child.expect_exact("Records of one part")
    _end(child)


def test_fish_completes_commands_and_shows_their_help(cli: CommandLine) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    code = (
        "hermes completion fish | source; complete --do-complete 'hermes lo'; complete -C 'hermes logs --le'"
    )
    result = subprocess.run(
        ["fish", "--no-config", "-c", code],
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert result.stdout.splitlines() == [
        "logs\tShow the log files",
        "--level\tThis level and more important ones.",
    ], result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_code_is_valid_in_its_shell(cli: CommandLine, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    code = cli.run("completion", shell).stdout
    checked = subprocess.run(
        [shell, "-n"], input=code, capture_output=True, text=True, check=False, env=cli.environment()
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_without_a_shell_it_says_how_to_install(cli: CommandLine) -> None:
    output = cli.run("completion").stdout
    for shell in ("bash", "zsh", "fish"):
        assert f"hermes completion {shell}" in output


def test_unknown_shell_is_refused(cli: CommandLine) -> None:
    result = cli.run("completion", "powershell")
    assert result.returncode == 2
    assert "Shells: bash, zsh, fish" in result.stderr


@pytest.mark.parametrize(
    "line", ["hermes 'unclosed", "hermes nonsense ", "hermes --resume ", "", "hermes -- "]
)
def test_odd_lines_get_no_answer_and_no_traceback(cli: CommandLine, line: str) -> None:
    result = cli.run("completion", "--answer", "bash", "--", line)
    assert "Traceback" not in result.stderr
    assert result.returncode == 0


def test_answers_need_neither_settings_nor_heavy_imports(cli: CommandLine) -> None:
    cli.write("config.yaml", "model: [broken\n")
    code = (
        "import sys; before = set(sys.modules)\n"
        "from hermes_agent.cli.main import main; import os\n"
        "main(['completion', '--answer', 'bash', '--', 'hermes '], os.environ)\n"
        "heavy = {'pydantic', 'yaml', 'rich', 'prompt_toolkit', 'openai', 'sqlite3', 'asyncio'}\n"
        "heavy &= set(sys.modules) - before; assert not heavy, heavy"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=cli.environment(), capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    assert "sessions\t" in result.stdout
