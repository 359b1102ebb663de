"""The fast door: version without imports, safe streams, profiles."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command_line import CommandLine

import hermes_agent
from hermes_agent.entry import VALUE_OPTIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


def test_the_version_is_the_one_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert hermes_agent.__version__ == project["project"]["version"]


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_the_version_is_printed_without_importing_anything_else(word: str) -> None:
    code = (
        "import sys, hermes_agent.entry as e; before = set(sys.modules); e.main([sys.argv[1]]);"
        "print(sorted(set(sys.modules) - before), [m for m in sys.modules if m.startswith('hermes_agent.')])"
    )
    shown = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True, check=True)
    version, modules = shown.stdout.splitlines()
    assert version == f"hermes-agent {hermes_agent.__version__}"
    assert modules == "[] ['hermes_agent.entry']"


def test_the_version_works_next_to_other_options(cli: CommandLine) -> None:
    assert cli.run("--debug", "-V").stdout.startswith("hermes-agent ")


def test_help_imports_no_command_and_no_heavy_library(cli: CommandLine) -> None:
    code = (
        "import sys, os; before = set(sys.modules);"
        "from hermes_agent.cli.main import main; main(['--help'], os.environ);"
        "bad = {'rich', 'prompt_toolkit', 'pydantic', 'yaml', 'openai', 'httpx', 'asyncio', 'sqlite3'};"
        "print('LOADED', sorted(bad & (set(sys.modules) - before)),"
        " [m for m in sys.modules if m.startswith('hermes_agent.cli.commands')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "LOADED [] []"


def test_a_closed_reader_ends_quietly(cli: CommandLine) -> None:
    for arguments in ("--help", "-q 'list the files here' --provider demo"):
        shown = subprocess.run(
            [
                "bash",
                "-c",
                f"{sys.executable} -m hermes_agent {arguments} </dev/null | true; echo ${{PIPESTATUS[0]}}",
            ],
            env=cli.environment(),
            cwd=cli.home.parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert shown.stdout.strip() == "141"
        assert "Traceback" not in shown.stderr
        assert "Exception ignored" not in shown.stderr


def test_closed_streams_are_survived(cli: CommandLine) -> None:
    for redirection in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        shown = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m hermes_agent -z hello --provider demo {redirection}"],
            env=cli.environment(),
            cwd=cli.home.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert shown.returncode == 0, (redirection, shown.stderr)


def test_a_full_disk_behind_standard_output_is_one_clear_error(cli: CommandLine) -> None:
    shown = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m hermes_agent -z hello --provider demo > /dev/full"],
        env=cli.environment(),
        cwd=cli.home.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert shown.returncode == 1
    assert "The output cannot be written" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_an_encoding_that_knows_no_emoji_is_survived(cli: CommandLine) -> None:
    shown = cli.run("-z", "hello", "--provider", "demo", PYTHONIOENCODING="ascii")
    assert shown.returncode == 0
    assert shown.stdout.isascii()


def test_a_profile_has_its_own_home(cli: CommandLine) -> None:
    profile = cli.home / "profiles" / "work"
    profile.mkdir(parents=True)
    for arguments in (("-p", "work"), ("--profile=work",), ("--provider", "demo", "-p", "work")):
        assert cli.run(*arguments, "-z", "hello", "--provider", "demo").returncode == 0
    assert (profile / "state.db").exists()
    assert not (cli.home / "state.db").exists()


@pytest.mark.parametrize("name", ["nobody", "../escape", "", ".hidden", "a/b"])
def test_an_unknown_or_odd_profile_is_refused(cli: CommandLine, name: str) -> None:
    shown = cli.run("-p", name, "config")
    assert shown.returncode == 2
    assert "profile" in shown.stderr


def test_a_profile_behind_an_optional_value_is_not_ignored(cli: CommandLine) -> None:
    shown = cli.run("-c", "some title", "-p", "work")
    assert shown.returncode == 2
    assert "must come first" in shown.stderr


def test_the_entry_knows_every_option_that_takes_a_value() -> None:
    from hermes_agent.cli.main import root

    taking = {
        name
        for option in root.params
        if not getattr(option, "is_flag", False) and getattr(option, "flag_value", None) != ""
        for name in option.opts
    }
    assert taking - {"-p", "--profile"} == VALUE_OPTIONS


def test_python_dash_m_is_the_same_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "hermes_agent", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"hermes-agent {hermes_agent.__version__}\n"
